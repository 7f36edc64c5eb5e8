//! Properties of equivalence keys, on text that nobody chose.
#![allow(clippy::unwrap_used)]

mod consensus_support;

use axiom_hive_core::consensus::KeyMaker;
use axiom_hive_core::constitution::Equivalence;
use consensus_support::budget;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn key(equivalence: &Equivalence) -> impl Fn(&str) -> Option<String> + use<> {
    let maker = KeyMaker::compile(equivalence).unwrap();
    move |text| Some(maker.key(text)?.as_text().unwrap().to_owned())
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: budget("CONSENSUS_KEYS", 2_000),
        failure_persistence: None,
        ..Config::default()
    })
}

/// Letters with unusual case, width, decomposition or visibility, among any characters.
fn unusual_text() -> impl Strategy<Value = String> {
    let picked = prop::sample::select(
        "aBßẞςΣİıſKÅée\u{301}\u{345}ᾳΐŉǰﬃ ﷺＡｚ½ᴬ\u{200b}\u{ad}\u{34f}\u{ffa0}\u{1160}\u{3164}\u{fe0f}\u{e0041} \u{a0}\u{3000}\n\t"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![4 => picked, 1 => any::<char>()], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

#[test]
fn text_keys_are_their_own_keys() {
    let key = key(&Equivalence::Text);
    runner()
        .run(&unusual_text(), |text| {
            if let Some(once) = key(&text) {
                prop_assert_eq!(key(&once), Some(once), "{:?}", text);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn text_keys_ignore_space_and_invisible_characters_between_words() {
    let key = key(&Equivalence::Text);
    runner()
        .run(&(unusual_text(), unusual_text()), |(a, b)| {
            let plain = key(&format!("{a} x {b}"));
            let spaced = key(&format!("\u{feff}{a} \n\u{2003}\u{200b}x\t\u{a0}{b}\r\n"));
            prop_assert_eq!(plain, spaced);
            Ok(())
        })
        .unwrap();
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Into::into),
        (-1e15_f64..1e15).prop_map(Into::into),
        unusual_text().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(unusual_text(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

#[test]
fn json_keys_depend_on_the_value_and_not_on_its_spelling() {
    let key = key(&Equivalence::Json);
    runner()
        .run(&json(), |value| {
            let plain = key(&value.to_string());
            prop_assert!(plain.is_some());
            prop_assert_eq!(&key(&serde_json::to_string_pretty(&value).unwrap()), &plain);
            prop_assert_eq!(&key(plain.as_deref().unwrap()), &plain);
            Ok(())
        })
        .unwrap();
}

/// Digits as a whole number of quanta, rounded half to even by integer arithmetic.
fn rounded(units: i128, places: u32, decimals: u32) -> String {
    let scaled = if decimals >= places {
        units * 10_i128.pow(decimals - places)
    } else {
        let quantum = 10_i128.pow(places - decimals);
        let (low, rest) = (units.div_euclid(quantum), units.rem_euclid(quantum));
        let is_up = 2 * rest > quantum || (2 * rest == quantum && low.rem_euclid(2) == 1);
        low + i128::from(is_up)
    };
    let sign = if scaled < 0 { "-" } else { "" };
    let one = 10_i128.pow(decimals);
    let (whole, part) = (scaled.abs() / one, scaled.abs() % one);
    if decimals == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{part:0width$}", width = decimals as usize)
}

#[test]
fn numbers_round_half_to_even_as_integers_do() {
    let makers: Vec<_> = (0..=9)
        .map(|decimals| key(&Equivalence::Number { decimals }))
        .collect();
    // Few digits, so that halves are frequent.
    let number = (-100_000..100_000_i64, 0..=5_u32, 0..=9_u32, 0..3_usize);
    runner()
        .run(&number, |(units, places, decimals, zeros)| {
            let sign = if units < 0 { "-" } else { "" };
            let one = 10_i64.pow(places);
            let (whole, part) = (units.abs() / one, units.abs() % one);
            let width = places as usize;
            let point = if places > 0 {
                format!(".{part:0width$}")
            } else {
                String::new()
            };
            let text = format!(" {sign}{}{whole}{point}\n", "0".repeat(zeros));
            let expected = rounded(units.into(), places, decimals);
            prop_assert_eq!(makers[decimals as usize](&text), Some(expected), "{}", text);
            Ok(())
        })
        .unwrap();
}

/// No equivalence panics or takes more than linear time on text that a runtime chose.
#[test]
fn every_kind_survives_any_text() {
    let kinds = [
        Equivalence::Text,
        Equivalence::Bytes,
        Equivalence::Json,
        Equivalence::Number { decimals: 3 },
        Equivalence::Regex {
            pattern: "(.*)[^A-Z]|[A-Z]".to_owned(),
            take: axiom_hive_core::constitution::Take::Last,
        },
        Equivalence::Choice {
            values: vec!["yes".to_owned(), "no".to_owned()],
        },
    ];
    let makers: Vec<_> = kinds
        .iter()
        .map(|kind| KeyMaker::compile(kind).unwrap())
        .collect();
    runner()
        .run(&any::<String>(), |text| {
            for maker in &makers {
                prop_assert_eq!(maker.key(&text), maker.key(&text));
            }
            Ok(())
        })
        .unwrap();
    // The family on which repeated searches scan to the end each time.
    let long = "A".repeat(512 * 1024);
    for maker in &makers {
        assert_eq!(maker.key(&long), maker.key(&long));
    }
}

/// Golden keys: a released constitution keeps its meaning.
#[test]
fn keys_are_pinned() {
    let text = key(&Equivalence::Text);
    for (answer, expected) in [
        ("  The ANSWER\tis\u{a0}42. ", "the answer is 42."),
        ("ﬃ ½ ① ｶﾞ", "ffi 1⁄2 1 ガ"),
        ("İSTANBUL ısı", "i\u{307}stanbul ısı"),
        ("Ὀδυσσεύς", "ὀδυσσεύσ"),
        ("👩\u{200d}🔬", "👩🔬"),
    ] {
        assert_eq!(text(answer).as_deref(), Some(expected), "{answer:?}");
    }
    let json = key(&Equivalence::Json);
    let answer = "{\"b\": [1e0, 0.10, -0.0], \"\\u0061\": \"\\u20ac\"}";
    assert_eq!(
        json(answer).as_deref(),
        Some("{\"a\":\"€\",\"b\":[1,0.1,0]}")
    );
}
