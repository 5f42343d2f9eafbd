//! So many requests a minute: a bucket for every address and every token, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::Name;

/// Buckets that are remembered. Above it those are forgotten that would be full again; if none is, the one
/// that was used longest ago.
const MAX_BUCKETS: usize = 1024;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// An address; of IPv6 the 64 bits that a network hands out to one customer.
    Address(IpAddr),
    /// A token.
    Token(Name),
}

impl Whose {
    /// The address of a peer.
    pub fn address(ip: IpAddr) -> Self {
        Self::Address(match ip.to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
            other => other,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may come at once.
    left: f64,
    at: Instant,
}

/// Token buckets.
#[derive(Debug)]
pub struct RateLimit<K = Whose> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Clone + Eq + Hash> RateLimit<K> {
    /// So many a minute, a sixth of them at once.
    pub fn per_minute(requests: u32) -> Self {
        let requests = f64::from(requests.max(1));
        Self { per_second: requests / 60.0, burst: (requests / 6.0).max(1.0), buckets: Mutex::default() }
    }

    /// Takes `cost` requests of `whose` at `now`, or says after how long it may be asked again.
    pub fn take(&self, whose: &K, cost: f64, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(|e| e.into_inner());
        let (per_second, burst) = (self.per_second, self.burst);
        let level =
            |b: &Bucket| (b.left + now.saturating_duration_since(b.at).as_secs_f64() * per_second).min(burst);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(whose) {
            buckets.retain(|_, b| level(b) < burst);
            if buckets.len() >= MAX_BUCKETS
                && let Some(oldest) = buckets.iter().min_by_key(|(_, b)| b.at).map(|(k, _)| k.clone())
            {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(whose.clone()).or_insert(Bucket { left: burst, at: now });
        *bucket = Bucket { left: level(bucket), at: now };
        // A cost above the whole bucket empties it.
        if bucket.left < cost.min(burst) {
            let wait = (cost.min(burst) - bucket.left) / per_second;
            return Err(Duration::from_secs_f64(wait));
        }
        bucket.left -= cost.min(burst);
        Ok(())
    }

    /// Takes what is there of `cost`, and refuses nothing: what was done already costs afterwards.
    pub fn charge(&self, whose: &K, cost: f64, now: Instant) {
        if self.take(whose, cost, now).is_err()
            && let Some(bucket) = self.buckets.lock().unwrap_or_else(|e| e.into_inner()).get_mut(whose)
        {
            bucket.left = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let (limit, t0) = (RateLimit::per_minute(60), Instant::now());
        let who = Whose::address([192, 0, 2, 1].into());
        for _ in 0..10 {
            limit.take(&who, 1.0, t0).unwrap();
        }
        let wait = limit.take(&who, 1.0, t0).unwrap_err();
        assert!((0.9..=1.1).contains(&wait.as_secs_f64()), "{wait:?}");
        limit.take(&who, 1.0, t0 + wait).unwrap();
        limit.take(&Whose::address([192, 0, 2, 2].into()), 1.0, t0).unwrap();
        limit.charge(&who, 100.0, t0 + Duration::from_secs(60));
        assert!(limit.take(&who, 1.0, t0 + Duration::from_secs(60)).is_err());
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let v6 = |text: &str| Whose::address(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:2"));
        assert_ne!(v6("2001:db8:0:1::1"), v6("2001:db8::1"));
        assert_eq!(v6("::ffff:192.0.2.1"), v6("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_who_floods_is_not_forgotten_first() {
        let (limit, t0) = (RateLimit::per_minute(60), Instant::now());
        let flooder = u32::MAX;
        limit.charge(&flooder, 1000.0, t0 + Duration::from_millis(1));
        for n in 0..3 * MAX_BUCKETS as u32 {
            limit.take(&n, 1.0, t0).unwrap();
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_BUCKETS);
        assert!(limit.take(&flooder, 1.0, t0 + Duration::from_millis(2)).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(gaps in proptest::collection::vec(0u64..400, 1..300)) {
            let (limit, t0) = (RateLimit::per_minute(600), Instant::now());
            let (mut at, mut passed) = (0, 0);
            for gap in gaps {
                at += gap;
                passed += u32::from(limit.take(&1, 1.0, t0 + Duration::from_millis(at)).is_ok());
            }
            prop_assert!(f64::from(passed) <= 100.0 + at as f64 / 100.0 + 1e-6);
        }
    }
}
