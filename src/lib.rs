//! Vigil watches where nobody sits.
//!
//! The modules are the rooms of the house, in the order in which a frame walks through them. A
//! room imports only from rooms above it in this list, and from [`base`]; a test holds that.

pub mod base;
pub mod config;
pub mod event;
pub mod auth;
pub mod capture;
pub mod infer;
pub mod face;
pub mod thermal;
pub mod geo;
pub mod sim;
pub mod document;
pub mod gallery;
pub mod gate;
pub mod search;
pub mod outbox;
pub mod bus;
pub mod fittings;
pub mod desk;
pub mod commands;
