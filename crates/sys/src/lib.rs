//! Small safe wrappers for kernel facilities that no kept crate covers.
//!
//! One facility a file. No policy here: a wrapper says what the kernel said.

pub mod limits;
pub mod random;
