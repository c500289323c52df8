//! The list of cases that are not supported.

use super::Tried;
use super::archive::folder;
use super::device::Outcome;

/// One line of `unsupported.txt`: `pattern | what happens | why`.
#[derive(Debug)]
pub struct Line {
    /// Name of a case; `*` stands for anything.
    pub pattern: String,
    /// `differs`, or a part of the message that refuses the case.
    pub what: String,
    /// Why, for the page.
    pub why: String,
}

pub fn read() -> Vec<Line> {
    let text = std::fs::read_to_string(folder().join("unsupported.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [pattern, what, why] = parts[..] else { panic!("three parts in `{line}`") };
            assert!(!what.is_empty() && !why.is_empty(), "`{line}` says nothing");
            Line { pattern: pattern.into(), what: what.into(), why: why.into() }
        })
        .collect()
}

/// True when `name` has the form of `pattern`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(tail) = name.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
}

/// The line that lists a case.
pub fn line<'a>(listed: &'a [Line], name: &str) -> Option<&'a Line> {
    listed.iter().find(|line| fits(&line.pattern, name))
}

/// True when a message says where the fault is: at a node, an input or an output.
pub fn names_the_place(message: &str) -> bool {
    ["node `", "input `", "output `"].iter().any(|place| message.contains(place))
}

/// What is wrong about the outcome of a case, given the list.
pub fn judge(listed: &[Line], tried: &Tried) -> Option<String> {
    let name = &tried.case.name;
    let line = line(listed, name);
    match (&tried.outcome, line) {
        (Outcome::Passed, None) => None,
        (Outcome::Passed, Some(line)) => {
            Some(format!("{name}: passes, but `{}` is listed as unsupported", line.pattern))
        }
        (Outcome::Refused(message), Some(line)) if message.contains(&line.what) => {
            (!names_the_place(message)).then(|| format!("{name}: names no place: {message}"))
        }
        (Outcome::Differs(_), Some(line)) if line.what == "differs" => None,
        (outcome, line) => Some(format!("{name}: {outcome:?}, listed as {line:?}")),
    }
}

#[test]
fn every_line_lists_something() {
    let names: Vec<String> = super::FAMILIES
        .iter()
        .flat_map(|family| super::archive::read(family))
        .map(|case| case.name)
        .collect();
    let listed = read();
    for (at, entry) in listed.iter().enumerate() {
        let own =
            names.iter().any(|name| listed.iter().position(|line| fits(&line.pattern, name)) == Some(at));
        assert!(own, "`{}` lists no case that no line above it lists", entry.pattern);
    }
}

#[test]
fn patterns() {
    assert!(fits("cast_*", "cast_FLOAT_to_DOUBLE") && fits("a*b*", "axbx") && fits("a", "a"));
    assert!(!fits("cast_*8", "cast_FLOAT_to_DOUBLE") && !fits("a", "ab"));
}

#[test]
fn the_list_and_the_outcome_must_agree() {
    let case = super::archive::read("trigonometry").remove(0);
    let listed = |what: &str| vec![Line { pattern: case.name.clone(), what: what.into(), why: "why".into() }];
    let judged = |listed: &[Line], outcome| judge(listed, &Tried { case: case.clone(), outcome }).is_none();
    let refused = |message: &str| Outcome::Refused(message.into());
    let differs = || Outcome::Differs("`y`[0]".into());
    assert!(judged(&[], Outcome::Passed) && !judged(&[], differs()) && !judged(&[], refused("node `y`: no")));
    assert!(!judged(&listed("no"), Outcome::Passed) && !judged(&listed("differs"), Outcome::Passed));
    assert!(
        judged(&listed("no"), refused("node `y`: no")) && !judged(&listed("other"), refused("node `y`: no"))
    );
    assert!(!judged(&listed("no"), refused("no")), "the message must name the place");
    assert!(judged(&listed("differs"), differs()) && !judged(&listed("no"), differs()));
}
