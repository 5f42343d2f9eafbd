//! Identifiers that are unique in the world, and the same for the same flight played again.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A source of identifiers: UUID version 7 (RFC 9562, section 5.7) of the time that is given and of a seed.
#[derive(Clone, Debug)]
pub struct Ids {
    seed: [u8; 32],
    given: u64,
}

impl Ids {
    /// Identifiers from a seed. A live box takes one from the operating system; a replay takes one that it
    /// knows, and gets the same identifiers again.
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self { seed, given: 0 }
    }

    /// The next one.
    pub fn next(&mut self, time: Timestamp) -> Uuid {
        self.given += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.given.to_le_bytes());
        let digest = hash.finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_another_others() {
        let time = Timestamp::from_second(1_790_000_000).unwrap();
        let (mut a, mut b, mut c) = (Ids::seeded([1; 32]), Ids::seeded([1; 32]), Ids::seeded([2; 32]));
        let first = a.next(time);
        assert_eq!(first, b.next(time));
        assert_ne!(first, a.next(time));
        assert_ne!(first, c.next(time));
        assert_eq!(first.get_version_num(), 7);
    }
}
