//! Whatever text is said to be rules: it is refused with words, or what is printed of it reads back the same.

use super::{
    ast::Ruleset,
    check,
    parser::List,
    print::{Live, print},
};
use narrows_stack::random::Random;

/// Rules that are right, and commands that others stumbled over.
const TEXTS: [&str; 3] = [
    include_str!("../../../cli/tests/end_to_end/filter/every_word.nft"),
    include_str!("../../../cli/tests/end_to_end/filter/flows.nft"),
    include_str!("corpus.nft"),
];

fn printed(ruleset: &Ruleset) -> String {
    print(ruleset, &List::Ruleset(None), &Live::default(), false)
}

/// True: it was taken.
fn reads_back(text: &str) -> bool {
    match check(text) {
        Ok(ruleset) => {
            let said = printed(&ruleset);
            let again = check(&said).unwrap_or_else(|error| panic!("{text}\n{said}\n{error}"));
            assert_eq!(printed(&again), said, "{text}");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{text}");
            false
        }
    }
}

#[test]
fn the_corpus_replays_line_by_line_and_cut_anywhere() {
    let mut taken = 0;
    for line in TEXTS[2].lines() {
        taken += usize::from(reads_back(line));
        let ends = line.char_indices().map(|(at, _)| at);
        for end in ends {
            reads_back(&line[..end]);
        }
    }
    assert!(taken >= 5, "{taken}");
}

#[test]
fn words_in_other_places_are_refused_or_read_back() {
    let mut random = Random::new([6; 16]);
    let rules: Vec<&str> = TEXTS[..2].iter().flat_map(|text| text.lines()).collect();
    let rules: Vec<&str> =
        rules.into_iter().map(str::trim).filter(|rule| !rule.is_empty()).collect();
    let words: Vec<&str> = TEXTS.iter().flat_map(|text| text.split_whitespace()).collect();
    let mut taken = 0;
    for _ in 0..3_000 {
        let rule = rules[random.below(rules.len() as u32) as usize];
        let mut parts: Vec<&str> = rule.split(' ').collect();
        for _ in 0..=random.below(2) {
            let at = random.below(parts.len() as u32) as usize;
            let word = words[random.below(words.len() as u32) as usize];
            match random.below(3) {
                0 => parts[at] = word,
                1 => parts.insert(at, word),
                _ => drop(parts.remove(at)),
            }
            if parts.is_empty() {
                parts.push(word);
            }
        }
        let rule = parts.join(" ");
        taken += usize::from(reads_back(&format!(
            "add table inet t; add chain inet t c; add rule inet t c {rule}"
        )));
    }
    assert!(taken > 20, "{taken}");
}

#[test]
fn files_with_bytes_changed_end() {
    let mut random = Random::new([7; 16]);
    for text in TEXTS {
        for _ in 0..60 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u32) as usize;
                bytes[at] = b" {}();,\"\\\n.:/-@$#=!0aZ\x00\xff"[random.below(24) as usize];
            }
            reads_back(&String::from_utf8_lossy(&bytes));
        }
    }
}
