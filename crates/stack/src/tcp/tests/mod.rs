//! A connection from outside: fixtures for each state, and a pipe between two of them.

mod pipe;
mod transfer;
