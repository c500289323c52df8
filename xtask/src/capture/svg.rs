//! A terminal window as SVG: self-contained, readable on a light and on a dark page.
//!
//! Nobody knows which monospaced font a reader has. Every piece of text is therefore given its place and its width, so
//! that columns line up with any of them.

/// Columns of the window; wider lines are wrapped.
const COLUMNS: usize = 100;
/// Width of a column, height of a line, and space around the text, in pixels.
const ADVANCE: f64 = 8.4;
const LEADING: f64 = 20.0;
const MARGIN: f64 = 22.0;
/// Height of the bar with the title.
const BAR: f64 = 38.0;

/// What a piece of text is; decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Prompt,
    Command,
    Output,
    /// Details, and what is said about the output.
    Aside,
    Good,
    Bad,
}

impl Style {
    const ALL: [Self; 6] = [Self::Prompt, Self::Command, Self::Output, Self::Aside, Self::Good, Self::Bad];

    fn class(self) -> &'static str {
        match self {
            Self::Prompt => "p",
            Self::Command => "c",
            Self::Output => "o",
            Self::Aside => "a",
            Self::Good => "g",
            Self::Bad => "b",
        }
    }

    fn css(self) -> &'static str {
        match self {
            Self::Prompt => "fill:#7ee787;font-weight:600",
            Self::Command => "fill:#ffffff;font-weight:600",
            Self::Output => "fill:#d1d9e0",
            Self::Aside => "fill:#8b98a5",
            Self::Good => "fill:#7ee787;font-weight:600",
            Self::Bad => "fill:#ff7b72;font-weight:600",
        }
    }
}

/// One line of a terminal: pieces of text, each in a style.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<(String, Style)>);

impl Line {
    /// The line with a piece of text behind it. Control characters, which a terminal would act on, are left out.
    pub(super) fn with(mut self, text: &str, style: Style) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if !text.is_empty() {
            self.0.push((text, style));
        }
        self
    }

    /// Its pieces.
    #[cfg(test)]
    pub(super) fn spans(&self) -> &[(String, Style)] {
        &self.0
    }

    /// Its text alone.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// The line in pieces of at most `columns`, broken behind spaces where there are any; what follows a break is
    /// indented as the line itself.
    fn wrapped(&self, columns: usize) -> Vec<Self> {
        let letters: Vec<(char, Style)> =
            self.0.iter().flat_map(|(text, style)| text.chars().map(|c| (c, *style))).collect();
        let indent = letters.iter().take_while(|(c, _)| *c == ' ').count();
        let indent = if indent < columns / 2 { indent } else { 0 };
        let mut rest = letters.as_slice();
        let mut lines = Vec::new();
        loop {
            let used = if lines.is_empty() { 0 } else { indent };
            let room = columns - used;
            let end = if rest.len() <= room {
                rest.len()
            } else {
                let space = rest[..room].iter().rposition(|(c, _)| *c == ' ');
                space.filter(|at| *at > indent).map_or(room, |at| at + 1)
            };
            let (now, later) = rest.split_at(end);
            let mut line = Self::default().with(&" ".repeat(used), Style::Output);
            for run in now.chunk_by(|a, b| a.1 == b.1) {
                line = line.with(&run.iter().map(|(c, _)| c).collect::<String>(), run[0].1);
            }
            lines.push(line);
            if later.is_empty() {
                return lines;
            }
            rest = later;
        }
    }
}

/// A window with a title and lines of text.
pub(super) fn window(title: &str, lines: &[Line]) -> String {
    let lines: Vec<Line> = lines.iter().flat_map(|line| line.wrapped(COLUMNS)).collect();
    let width = column(COLUMNS) + MARGIN;
    let height = BAR + MARGIN + row(lines.len()) + MARGIN / 2.0;
    let styles: String =
        Style::ALL.iter().map(|style| format!(".{}{{{}}}", style.class(), style.css())).collect();
    let title = escape(title);
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="A terminal in which {title} compiles a model and verifies the bundle">
<style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;white-space:pre}}.t{{fill:#8b98a5;text-anchor:middle}}{styles}</style>
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="10" fill="#12171e" stroke="#3d4650"/>
<path d="M1 {BAR}V10.5A9.5 9.5 0 0 1 10.5 1H{bar_end}a9.5 9.5 0 0 1 9.5 9.5V{BAR}z" fill="#1f262e"/>
<circle cx="22" cy="19.5" r="6" fill="#ff5f57"/><circle cx="42" cy="19.5" r="6" fill="#febc2e"/><circle cx="62" cy="19.5" r="6" fill="#28c840"/>
<text x="{middle}" y="24" class="t">{title}</text>
"##,
        inner_width = width - 1.0,
        inner_height = height - 1.0,
        bar_end = width - 10.5,
        middle = width / 2.0,
    );
    for (index, line) in lines.iter().enumerate() {
        let y = BAR + MARGIN + row(index) + 8.0;
        let mut at = 0;
        for (text, style) in &line.0 {
            let columns = text.chars().count();
            let indent = columns - text.trim_start().chars().count();
            let text = text.trim();
            let (x, length) = (MARGIN + column(at + indent), column(text.chars().count()));
            if !text.is_empty() {
                let (class, text) = (style.class(), escape(text));
                out += &format!(
                    "<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\" class=\"{class}\" xml:space=\"preserve\">{text}</text>\n"
                );
            }
            at += columns;
        }
    }
    out + "</svg>\n"
}

/// Left edge of a column, from the first.
fn column(index: usize) -> f64 {
    pixels(index, ADVANCE)
}

/// Top edge of a row, from the first.
fn row(index: usize) -> f64 {
    pixels(index, LEADING)
}

fn pixels(count: usize, each: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * each
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Line, Style, window};

    fn line(text: &str) -> Line {
        Line::default().with(text, Style::Output)
    }

    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        line(text).wrapped(columns).iter().map(Line::text).collect()
    }

    #[test]
    fn text_is_escaped_and_stays_in_its_columns() {
        let picture = window(
            "a & b",
            &[line("x < y"), Line::default().with("$ ", Style::Prompt).with("\u{1b}ls", Style::Command)],
        );
        assert!(picture.contains(">x &lt; y</text>"), "{picture}");
        assert!(picture.contains(">a &amp; b</text>"), "{picture}");
        assert!(
            picture.contains(r#"x="38.8" y="88" textLength="16.8" class="c" xml:space="preserve">ls<"#),
            "{picture}"
        );
        assert!(!picture.contains('\u{1b}'));
    }

    #[test]
    fn lines_break_behind_spaces_and_keep_their_indent() {
        assert_eq!(wrapped("short", 10), ["short"]);
        assert_eq!(wrapped("  one, two, three", 10), ["  one, ", "  two, ", "  three"]);
        assert_eq!(wrapped("abcdefghijkl", 5), ["abcde", "fghij", "kl"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn styles_outlive_a_break() {
        let line = line("one ").with("two three", Style::Good).wrapped(8);
        assert_eq!(line[1].spans(), [("three".to_owned(), Style::Good)]);
    }
}
