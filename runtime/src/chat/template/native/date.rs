//! Dates as Python writes them.

use std::fmt::Write as _;

use super::value::Refusal;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `strftime` of a moment in seconds since 1970, in UTC: the standard library knows no time zones.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, Refusal> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (mut year, mut day) = (1970_u64, days);
    let length = |year: u64| {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        if leap { 366 } else { 365 }
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let day_of_year = day + 1;
    let february = length(year) - 337;
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let month_name = MONTHS.get(month).copied().unwrap_or_default();
    let weekday = usize::try_from((days + 4) % 7).unwrap_or_default();
    let day_name = DAYS.get(weekday).copied().unwrap_or_default();
    let hour_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let _ = match rest.next() {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{:02}", month + 1),
            Some('d') => write!(out, "{:02}", day + 1),
            Some('j') => write!(out, "{day_of_year:03}"),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{hour_12:02}"),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('B') => write!(out, "{month_name}"),
            Some('b') => write!(out, "{}", month_name.get(..3).unwrap_or_default()),
            Some('A') => write!(out, "{day_name}"),
            Some('a') => write!(out, "{}", day_name.get(..3).unwrap_or_default()),
            Some('F') => write!(out, "{year}-{:02}-{:02}", month + 1, day + 1),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('%') => write!(out, "%"),
            other => {
                let directive: String = other.into_iter().collect();
                return Err(format!("strftime_now does not know `%{directive}`"));
            }
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: `datetime.fromtimestamp(t, UTC).strftime(...)`.
    #[test]
    fn dates_read_as_in_python() {
        let format = "%A %a %d %B %b %Y %y %m %j %H:%M:%S %I %p %F %T %%";
        for (seconds, expected) in [
            (0, "Thursday Thu 01 January Jan 1970 70 01 001 00:00:00 12 AM 1970-01-01 00:00:00 %"),
            (951_827_696, "Tuesday Tue 29 February Feb 2000 00 02 060 12:34:56 12 PM 2000-02-29 12:34:56 %"),
            (
                1_735_689_599,
                "Tuesday Tue 31 December Dec 2024 24 12 366 23:59:59 11 PM 2024-12-31 23:59:59 %",
            ),
        ] {
            assert_eq!(strftime(format, seconds).unwrap(), expected);
        }
        assert!(strftime("%Q", 0).unwrap_err().contains("%Q"));
    }
}
