//! Numbers that look random and are the same for a seed, whatever library is updated.

/// A stream of numbers. Small and even enough for a landscape; for no secret.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// One of many streams of a seed: streams do not disturb each other, so that one stone more
    /// moves no person.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        dice.draw();
        dice
    }

    /// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(super) fn between32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit() as f32
    }

    /// 0 to `n` without `n`; 0 for 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    pub(super) fn chance(&mut self, of: f64) -> bool {
        self.unit() < of
    }

    /// Normally distributed, of deviation 1 (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// A count whose mean is `mean`: the whole part, and one more as often as the rest says.
    pub(super) fn about(&mut self, mean: f64) -> usize {
        mean as usize + usize::from(self.chance(mean.fract()))
    }
}

fn lattice(seed: u32, x: i32, y: i32) -> f32 {
    let mut h = seed ^ (x as u32).wrapping_mul(0x85eb_ca6b) ^ (y as u32).wrapping_mul(0xc2b2_ae35);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^= h >> 15;
    h as f32 / 2_147_483_648.0 - 1.0
}

/// Smooth noise between -1 and 1 whose bumps are about one unit wide.
pub(super) fn smooth(seed: u32, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - x0), ease(y - y0));
    let (x0, y0) = (x0 as i32, y0 as i32);
    let at = |i: i32, j: i32| lattice(seed, x0.wrapping_add(i), y0.wrapping_add(j));
    let (low, high) = (at(0, 0) + (at(1, 0) - at(0, 0)) * u, at(0, 1) + (at(1, 1) - at(0, 1)) * u);
    low + (high - low) * v
}

/// Smooth noise at several scales, each half as wide and half as strong as the one before.
pub(super) fn rough(seed: u32, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut scale, mut strength) = (0.0, 1.0, 1.0);
    for octave in 0..octaves {
        sum += strength * smooth(seed.wrapping_add(octave.wrapping_mul(0x9e37)), x * scale, y * scale);
        scale *= 2.03;
        strength *= 0.5;
    }
    sum
}

/// A value that wanders about 0 and forgets itself over a time (a Gauss-Markov process).
#[derive(Clone, Debug)]
pub(super) struct Wander {
    value: f64,
    sigma: f64,
    memory_s: f64,
    dice: Dice,
}

impl Wander {
    pub(super) fn new(sigma: f64, memory_s: f64, mut dice: Dice) -> Self {
        Self { value: sigma * dice.normal(), sigma, memory_s, dice }
    }

    pub(super) fn step(&mut self, seconds: f64) -> f64 {
        let kept = (-seconds / self.memory_s).exp();
        self.value = kept * self.value + self.sigma * (1.0 - kept * kept).sqrt() * self.dice.normal();
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_the_same_again() {
        let mut dice = Dice::new(7, 1);
        let n = 20_000;
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let x = dice.normal();
            (sum, square) = (sum + x, square + x * x);
        }
        let (mean, variance) = (sum / f64::from(n), square / f64::from(n));
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_eq!(Dice::new(7, 1).draw(), Dice::new(7, 1).draw());
        assert_ne!(Dice::new(7, 1).draw(), Dice::new(7, 2).draw());
        assert_ne!(Dice::new(7, 1).draw(), Dice::new(8, 1).draw());
    }

    #[test]
    fn what_wanders_keeps_its_spread() {
        let mut wander = Wander::new(2.0, 10.0, Dice::new(1, 1));
        let n = 50_000;
        let square: f64 = (0..n).map(|_| wander.step(1.0).powi(2)).sum();
        assert!((square / f64::from(n) - 4.0).abs() < 0.6, "{}", square / f64::from(n));
    }
}
