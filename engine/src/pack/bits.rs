//! A set of small numbers: which chunks of a pack are wanted.

/// Numbers below a bound, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// None of the numbers below `bound`.
    pub fn none(bound: usize) -> Self {
        Bits(vec![0; bound.div_ceil(64)])
    }

    /// Takes a number in.
    pub fn set(&mut self, number: usize) {
        if number / 64 >= self.0.len() {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Whether a number is in it.
    pub fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_apart() {
        let mut bits = Bits::none(65);
        for number in [0, 63, 64, 200] {
            assert!(!bits.has(number));
            bits.set(number);
        }
        assert!([0, 63, 64, 200].iter().all(|n| bits.has(*n)) && !bits.has(1) && !bits.has(5000));
        assert_eq!(bits.count(), 4);
    }
}
