//! The report that continuous integration reads (JUnit's XML).

use super::{Outcome, Verdict};
use std::fmt::Write;

pub(super) fn report(outcomes: &[Outcome]) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count()
    };
    let failures = count(|verdict| matches!(verdict, Verdict::Failed { .. }));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
    let tests = outcomes.len();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"narrows drill\" tests=\"{tests}\" failures=\"{failures}\" \
         skipped=\"{skipped}\">\n"
    );
    for outcome in outcomes {
        let name = escape(&outcome.path.display().to_string());
        // Writing to a string can't fail.
        let _ = match &outcome.verdict {
            Verdict::Passed => writeln!(text, "  <testcase name=\"{name}\"/>"),
            Verdict::Failed { fault, exchange } => writeln!(
                text,
                "  <testcase name=\"{name}\"><failure message=\"{}\">{}</failure></testcase>",
                escape(fault),
                escape(&exchange.join("\n"))
            ),
            Verdict::Skipped { reason } => writeln!(
                text,
                "  <testcase name=\"{name}\"><skipped message=\"{}\"/></testcase>",
                escape(reason)
            ),
        };
    }
    text + "</testsuite>\n"
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write the others.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_print_does_not_break_the_report() {
        let verdict =
            Verdict::Failed { fault: "a < \"b\" & c".into(), exchange: vec!["\u{1}".into()] };
        let text = report(&[Outcome { path: "x.pkt".into(), verdict }]);
        assert!(text.contains("message=\"a &lt; &quot;b&quot; &amp; c\">\u{fffd}<"), "{text}");
    }
}
