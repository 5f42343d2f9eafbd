//! Integration tests: one binary, so that it links once.

// A helper that unwraps fails its test, which is what a test does.
#![allow(clippy::unwrap_used)]

// The fuzz targets name the crate whose macro they use: here it is this one.
extern crate self as libfuzzer_sys;

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
mod fuzz;
mod gallery;
mod gate;
mod geo;
mod intake;
mod live;
mod outage;
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
