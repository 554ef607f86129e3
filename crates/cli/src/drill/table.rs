//! The table of results for people, in Markdown: for `docs/conformance.md`.

use super::{Outcome, Verdict};
use std::{fmt::Write, path::Path};

/// One row a script, by folder; `roots` are left out of the names.
pub(super) fn table(outcomes: &[Outcome], roots: &[std::path::PathBuf]) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count()
    };
    let passed = count(|verdict| matches!(verdict, Verdict::Passed));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed { .. }));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
    let mut text = format!(
        "# Conformance\n\n\
         What `narrows drill` says of scripts that others wrote; made by its `--table`.\n\n\
         {passed} passed, {failed} failed, {skipped} need what is not there.\n"
    );
    let mut folder = None;
    for outcome in outcomes {
        let path = roots.iter().find_map(|root| outcome.path.strip_prefix(root).ok());
        let path = path.unwrap_or(&outcome.path);
        let parent = path.parent().unwrap_or(Path::new(""));
        if folder != Some(parent) {
            folder = Some(parent);
            let title = parent.display().to_string();
            let title = if title.is_empty() { "Scripts".into() } else { title };
            // Writing to a string can't fail.
            let _ =
                write!(text, "\n## {title}\n\n| script | result | why |\n| --- | --- | --- |\n");
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let (result, why) = match &outcome.verdict {
            Verdict::Passed => ("pass", ""),
            Verdict::Failed { fault, .. } => ("**fail**", fault.as_str()),
            Verdict::Skipped { reason } => ("unsupported", reason.as_str()),
        };
        let why = why.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ");
        let _ = writeln!(text, "| {name} | {result} | {why} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn scripts_stand_under_their_folders() {
        let verdict = Verdict::Skipped { reason: "line 1: a | <b> is not supported".into() };
        let outcomes = [
            Outcome { path: "/x/suite/a/one.pkt".into(), verdict: Verdict::Passed },
            Outcome { path: "/x/suite/b/two.pkt".into(), verdict },
        ];
        let text = table(&outcomes, &[PathBuf::from("/x/suite")]);
        assert!(text.contains("1 passed, 0 failed, 1 need what is not there."), "{text}");
        assert!(
            text.contains(
                "## a\n\n| script | result | why |\n| --- | --- | --- |\n| one | pass |  |\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("| two | unsupported | line 1: a \\| &lt;b> is not supported |\n"),
            "{text}"
        );
    }
}
