//! Integration tests: one binary, so that it links once.

// A helper that unwraps fails its test, which is what a test does.
#![allow(clippy::unwrap_used)]

mod auth;
mod bus;
mod capture;
mod check;
mod config;
mod daemon;
mod demo;
mod desk;
mod docs;
mod document;
mod emrtd;
mod door;
mod face;
mod gallery;
mod gate;
mod geo;
mod intake;
mod replay;
mod rooms;
mod schema;
mod stream;
mod search;
mod sim;
mod support;
mod telemetry;
mod thermal_detect;
mod verify;
mod watch;
