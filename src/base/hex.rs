//! Bytes as a person and a file read them.

use std::fmt::Write;

/// Lower-case hexadecimal, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing into a string does not fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}
