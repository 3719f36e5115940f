//! A table as documents hold it, and figures as people read them.

use std::fmt;

/// A table; the first column is text, the others are figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row, and returns it as a line.
    pub(super) fn row(&mut self, title: &str, cells: Vec<String>) -> String {
        let row: Vec<_> = std::iter::once(title.to_owned()).chain(cells).collect();
        let text = line(&row);
        self.rows.push(row);
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            writeln!(f, "{}", line(row))?;
            if index == 0 {
                writeln!(f, "|{}", " --- |".repeat(row.len()))?;
            }
        }
        Ok(())
    }
}

fn line(row: &[String]) -> String {
    format!("| {} |", row.join(" | "))
}

/// A count with three figures that mean something, in groups of three digits.
pub(super) fn count(value: f64) -> String {
    let mut step = 1.0;
    while value.abs() / step >= 1000.0 {
        step *= 10.0;
    }
    let digits = format!("{:.0}", (value / step).round() * step);
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", &*digits), |rest| ("-", rest));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

/// A small figure, with what is behind its point.
pub(super) fn rate(value: f64) -> String {
    let places = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_what_they_mean() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.4), "999");
        assert_eq!(count(42_837.2), "42,800");
        assert_eq!(count(911_499.0), "911,000");
        assert_eq!(count(-1_234.0), "-1,230");
        assert_eq!(
            (rate(1.234), rate(12.34), rate(123.4)),
            ("1.23".into(), "12.3".into(), "123".into())
        );
    }

    #[test]
    fn a_table_is_one_of_markdown() {
        let mut table = Table::new(&["what", "much"]);
        assert_eq!(table.row("this", vec!["1".to_owned()]), "| this | 1 |");
        assert_eq!(
            table.to_string(),
            "| what | much |\n| --- | --- |\n| this | 1 |\n"
        );
    }
}
