//! Any bytes go through the filter before the demultiplexer as whole packets, the same however they are cut, and
//! the KLV reader makes whole packets of them or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::capture::{KlvAssembler, MAX_KLV_BYTES, TransportFilter};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let mut filter = TransportFilter::new();
    filter.push(bytes, &mut whole);
    let mut again = TransportFilter::new();
    for piece in bytes.chunks(usize::from(*cut) * 3 + 1) {
        again.push(piece, &mut pieces);
    }
    assert_eq!(whole, pieces);
    assert_eq!(filter.figures(), again.figures());
    assert!(whole.chunks(188).all(|p| p.len() == 188 && p[0] == 0x47));
    let mut packets = KlvAssembler::new();
    for (n, piece) in bytes.chunks(usize::from(*cut) + 1).enumerate() {
        packets.push(piece, n, |packet, tag| {
            assert!(packet.len() <= MAX_KLV_BYTES && packet.starts_with(&[6, 14, 43, 52]) && tag <= n);
        });
    }
});
