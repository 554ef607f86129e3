//! Small safe wrappers for kernel facilities that no kept crate covers.
//!
//! One facility a file. No policy here: a wrapper says what the kernel said. What rustix has
//! (SO_COOKIE, SO_PEERCRED, SCM_RIGHTS, pidfds, sendmmsg) is used from there.

pub mod command;
pub mod epoll_target;
pub mod limits;
pub mod namespace;
pub mod netfilter;
pub mod packet_socket;
pub mod peer;
pub mod random;
pub mod receive_batch;
pub mod send_batch;
pub mod socket;
pub mod socket_filter;
pub mod tun;
