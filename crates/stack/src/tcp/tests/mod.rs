//! A connection from outside: fixtures for each state, and a pipe between two of them.

mod acknowledgment;
mod close;
mod fixture;
mod handshake;
mod hostile;
mod lifetime;
mod loss;
mod machine;
mod paced;
mod pipe;
mod sequence;
mod small;
mod transfer;
mod window;
