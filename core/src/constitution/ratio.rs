//! An exact decimal between 0 and 1, such as the consensus threshold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An exact decimal ratio `r` with 0 < `r` ≤ 1 and at most 9 decimal places. Never a float:
/// `ceil(0.28 × 25)` is 7, and binary floating point says 8.
///
/// The canonical text has no trailing zeros: `0.75`, `1`.
///
/// ```
/// use axiom_hive_core::constitution::Ratio;
/// let ratio: Ratio = "0.280".parse().unwrap();
/// assert_eq!(ratio.to_string(), "0.28");
/// assert_eq!(ratio.threshold(25), 7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ratio {
    /// Billionths, `1..=1_000_000_000`.
    billionths: u64,
}

const ONE: u64 = 1_000_000_000;
const MAX_DECIMALS: usize = 9;

/// Why a text is not a [`Ratio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal above 0 and at most 1, with at most 9 decimal places, such as 0.75")]
pub struct ParseRatioError;

impl Ratio {
    /// The whole: every vote must agree.
    pub const ONE: Self = Self { billionths: ONE };
    /// The default threshold, 0.75.
    pub const THREE_QUARTERS: Self = Self {
        billionths: 750_000_000,
    };

    /// The least whole number of votes that is at least this ratio of `total`; at least 1.
    #[must_use]
    pub fn threshold(self, total: u32) -> u32 {
        // At most `total`, because the ratio is at most 1.
        let votes = (u64::from(total) * self.billionths).div_ceil(ONE);
        u32::try_from(votes).unwrap_or(u32::MAX).max(1)
    }

    /// Whether `votes` of `total` reach the ratio; exact.
    #[must_use]
    pub fn is_reached_by(self, votes: u32, total: u32) -> bool {
        u64::from(votes) * ONE >= u64::from(total) * self.billionths
    }

    /// Whether the ratio is above one half, so that no tie can reach it.
    #[must_use]
    pub fn is_above_half(self) -> bool {
        self.billionths * 2 > ONE
    }
}

impl std::str::FromStr for Ratio {
    type Err = ParseRatioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(decimals) || !matches!(whole, "0" | "1") {
            return Err(ParseRatioError);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > MAX_DECIMALS {
            return Err(ParseRatioError);
        }
        let padded = format!("{decimals:0<9}");
        let fraction: u64 = padded.parse().map_err(|_| ParseRatioError)?;
        let billionths = if whole == "1" { ONE } else { 0 } + fraction;
        if billionths == 0 || billionths > ONE {
            return Err(ParseRatioError);
        }
        Ok(Self { billionths })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.billionths == ONE {
            return f.write_str("1");
        }
        let digits = format!("{:09}", self.billionths);
        write!(f, "0.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Ratio {
    type Error = ParseRatioError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ratio> for String {
    fn from(ratio: Ratio) -> Self {
        ratio.to_string()
    }
}
