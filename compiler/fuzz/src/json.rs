//! Mutations of JSON that stay JSON.

use serde_json::{Map, Value, json};

use crate::rng::Rng;

/// Changes one place of a value.
pub fn mutate(value: &mut Value, rng: &mut Rng) {
    // Values of the same document are the likeliest to be accepted elsewhere.
    let mut donors = Vec::new();
    collect(value, &mut donors);
    let donor = rng.pick(&donors).cloned().unwrap_or(Value::Null);
    let target = rng.below(donors.len());
    let mut left = target;
    if let Some(place) = nth(value, &mut left) {
        change(place, donor, rng);
    }
}

fn collect(value: &Value, into: &mut Vec<Value>) {
    into.push(value.clone());
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(map) => map.values().for_each(|item| collect(item, into)),
        _ => {}
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(map) => map.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}

fn change(value: &mut Value, donor: Value, rng: &mut Rng) {
    if rng.one_in(4) {
        *value = donor;
        return;
    }
    match value {
        Value::Number(number) => {
            let old = number.as_i64().unwrap_or(0);
            let new = match rng.below(4) {
                0 => old.wrapping_add(i64::try_from(rng.below(9)).unwrap_or(0) - 4),
                1 => old.wrapping_mul(2),
                _ => rng.int(),
            };
            *value = if rng.one_in(8) { json!(new.cast_unsigned()) } else { json!(new) };
        }
        Value::String(text) => {
            const TEXTS: [&str; 8] =
                ["", "../x", "/etc/hostname", "\u{1b}[2J", "a\0b", "tokens", "main", "\u{202E}x"];
            match rng.below(3) {
                0 => text.push('x'),
                1 => drop(text.pop()),
                _ => *text = rng.pick(&TEXTS).copied().unwrap_or("").to_owned(),
            }
        }
        Value::Array(items) => {
            let (at, to) = (rng.below(items.len()), rng.below(items.len()));
            match rng.below(4) {
                0 if !items.is_empty() => drop(items.remove(at)),
                1 if !items.is_empty() => items.swap(at, to),
                2 if !items.is_empty() => items.insert(to, items[at].clone()),
                _ => items.push(donor),
            }
        }
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            match (rng.below(3), rng.pick(&keys).cloned()) {
                (0, Some(key)) => drop(map.remove(&key)),
                (1, Some(key)) => drop(map.insert(key, donor)),
                _ => drop(map.insert("extra".to_owned(), donor)),
            }
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => *value = Value::Object(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_change_most_documents() {
        let document = json!({"a": [1, 2, {"b": "c"}], "d": null, "e": true});
        let changed = (0..100).filter(|seed| {
            let mut copy = document.clone();
            mutate(&mut copy, &mut Rng::new(*seed));
            copy != document
        });
        assert!(changed.count() > 70);
    }
}
