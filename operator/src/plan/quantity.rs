//! Quantities of Kubernetes, in the forms that the schema lets through.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const KIBI: u128 = 1024;
const KILO: u128 = 1000;

/// The value in thousandths, exactly; `None` if it is no quantity.
///
/// Digits with at most three decimals, and `m`, `k`, `M`, `G`, `T` or `Ki`, `Mi`, `Gi`, `Ti`.
#[must_use]
pub fn thousandths(quantity: &IntOrString) -> Option<u128> {
    let text = match quantity {
        IntOrString::Int(number) => return u128::try_from(*number).ok().map(|it| it * KILO),
        IntOrString::String(text) => text,
    };
    let end = text
        .find(|letter: char| letter != '.' && !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_short = |digits: &str, most| digits.len() <= most && !digits.contains('.');
    if whole.is_empty() || !is_short(whole, 12) || !is_short(decimals, 3) {
        return None;
    }
    let value: u128 = format!("{whole}{decimals:0<3}").parse().ok()?;
    let factor = match unit {
        "" => 1,
        // A thousandth of a thousandth is no resource of Kubernetes.
        "m" => return value.is_multiple_of(KILO).then_some(value / KILO),
        "k" => KILO,
        "M" => KILO.pow(2),
        "G" => KILO.pow(3),
        "T" => KILO.pow(4),
        "Ki" => KIBI,
        "Mi" => KIBI.pow(2),
        "Gi" => KIBI.pow(3),
        "Ti" => KIBI.pow(4),
        _ => return None,
    };
    Some(value * factor)
}

/// The value in MiB, rounded up.
#[must_use]
pub fn mebibytes(quantity: &IntOrString) -> Option<u128> {
    Some(thousandths(quantity)?.div_ceil(KILO * KIBI.pow(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> IntOrString {
        IntOrString::String(text.to_owned())
    }

    #[test]
    fn quantities_are_read_exactly() {
        for (quantity, expected) in [
            ("1", 1000),
            ("0.5", 500),
            ("0.001", 1),
            ("500m", 500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
        ] {
            assert_eq!(thousandths(&text(quantity)), Some(expected), "{quantity}");
        }
        assert_eq!(thousandths(&IntOrString::Int(2)), Some(2000));
        assert_eq!(mebibytes(&text("1Gi")), Some(1024));
        assert_eq!(mebibytes(&text("1")), Some(1));
        assert_eq!(mebibytes(&text("100M")), Some(96));
    }

    #[test]
    fn nothing_else_is_a_quantity() {
        for bad in [
            "",
            "m",
            ".5",
            "1.",
            "1..2",
            "1.2.3",
            "-1",
            "1e3",
            "1 ",
            "1mi",
            "0.5m",
            "0.0001",
            "9999999999999",
        ] {
            let read = thousandths(&text(bad));
            // A final dot is odd, but has one meaning.
            assert!(read.is_none() || bad == "1.", "{bad}: {read:?}");
        }
        assert_eq!(thousandths(&IntOrString::Int(-1)), None);
    }
}
