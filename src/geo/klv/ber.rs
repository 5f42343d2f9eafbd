//! Lengths and tags of KLV (SMPTE ST 336; BER and BER-OID of ISO/IEC 8825-1).

/// What stands in front of the bytes that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ber<T> {
    /// The value, and how many bytes it took.
    Read(T, usize),
    /// The bytes end before it does.
    Short,
    /// It is not one that KLV allows, or larger than anybody needs.
    Bad,
}

/// A length: one byte up to 127, or the number of bytes that follow and hold it. The indefinite form
/// is not KLV's, and a length of more than four bytes is nobody's.
pub fn length(bytes: &[u8]) -> Ber<usize> {
    let Some(&first) = bytes.first() else { return Ber::Short };
    if first < 0x80 {
        return Ber::Read(usize::from(first), 1);
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Ber::Bad;
    }
    match bytes.get(1..=count) {
        None => Ber::Short,
        Some(held) => {
            let value = held.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
            usize::try_from(value).map_or(Ber::Bad, |value| Ber::Read(value, 1 + count))
        }
    }
}

/// Writes a length in its shortest form.
pub fn put_length(out: &mut Vec<u8>, length: u32) {
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        return out.push(short);
    }
    let bytes = length.to_be_bytes();
    let held = &bytes[(length.leading_zeros() / 8) as usize..];
    out.push(0x80 | held.len() as u8);
    out.extend_from_slice(held);
}

/// A tag: seven bits a byte, the highest bit says that another byte follows. Tags of more than 21
/// bits belong to no set.
pub fn tag(bytes: &[u8]) -> Ber<u32> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if at == 3 || at == 0 && *byte == 0x80 {
            return Ber::Bad;
        }
        value = value << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ber::Read(value, at + 1);
        }
    }
    if bytes.len() >= 3 { Ber::Bad } else { Ber::Short }
}

/// Writes a tag, which has at most 21 bits.
pub fn put_tag(out: &mut Vec<u8>, tag: u32) {
    let last = (tag & 0x7f) as u8;
    for shift in [14, 7] {
        if tag >> shift != 0 {
            out.push(0x80 | (tag >> shift & 0x7f) as u8);
        }
    }
    out.push(last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_and_tags_as_the_standards_print_them() {
        assert_eq!(length(&[0x7f]), Ber::Read(127, 1));
        assert_eq!(length(&[0x81, 0xd2]), Ber::Read(0xd2, 2));
        assert_eq!(length(&[0x82, 0x01, 0x00]), Ber::Read(256, 3));
        assert_eq!(length(&[0x84, 0, 0, 0, 5]), Ber::Read(5, 5));
        for short in [&[][..], &[0x81], &[0x82, 1]] {
            assert_eq!(length(short), Ber::Short, "{short:?}");
        }
        for bad in [0x80, 0x85, 0xff] {
            assert_eq!(length(&[bad, 0, 0, 0, 0, 0, 0]), Ber::Bad);
        }
        assert_eq!(tag(&[0x41]), Ber::Read(65, 1));
        assert_eq!(tag(&[0x81, 0x08]), Ber::Read(136, 2));
        assert_eq!(tag(&[0x81]), Ber::Short);
        for bad in [&[0x80, 0x01][..], &[0x81, 0x82, 0x83, 0x04], &[0x81, 0x82, 0x83]] {
            assert_eq!(tag(bad), Ber::Bad, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value in 0u32.., number in 0u32..1 << 21) {
            let mut out = Vec::new();
            put_length(&mut out, value);
            prop_assert_eq!(length(&out), Ber::Read(value as usize, out.len()));
            out.clear();
            put_tag(&mut out, number);
            prop_assert_eq!(tag(&out), Ber::Read(number, out.len()));
        }
    }
}
