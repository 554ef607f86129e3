//! Unmodified programs on a real daemon, over a real wire, against the kernel.
//!
//! Each test has a network and a daemon of its own ([`stage`]). They need root or user
//! namespaces and fail without. Programs of the distribution that aren't installed are left
//! out, unless `NARROWS_TESTS_REQUIRE_ALL` is set.

mod answers;
mod autoconf;
mod commands;
mod configuration;
mod ct;
mod descriptors;
mod explain;
mod filter;
mod identity;
mod inspecting;
mod interfaces;
mod isolation;
mod lifetimes;
mod links;
mod local;
mod multicast;
mod nat;
mod neighbors;
mod packets;
mod policy;
mod ports;
mod programs;
mod quotas;
mod raw;
mod refusals;
mod reload;
mod routing;
mod sandbox;
mod seeing;
mod stage;
mod taps;
mod transfers;
mod udp;
mod zones;
