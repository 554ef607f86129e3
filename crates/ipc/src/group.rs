//! Groups of interfaces: numbers, and the names that /etc/iproute2/group gives them, to ip(8), nft(8) and
//! to all of Narrows.

use std::fs;

const FILES: [&str; 2] = ["/etc/iproute2/group", "/usr/share/iproute2/group"];

/// Numbers and names, as the first file that is there has them.
fn names() -> Vec<(u32, String)> {
    let text = FILES.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    parse(&text)
}

fn parse(text: &str) -> Vec<(u32, String)> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    let named = lines.filter_map(pair);
    [(0, "default".to_owned())].into_iter().chain(named).collect()
}

/// The group's number, by that or by its name.
pub fn number(word: &str) -> Option<u32> {
    let named = || names().into_iter().find(|(_, name)| name == word);
    word.parse().ok().or_else(|| named().map(|(number, _)| number))
}

/// Its name; one without a name is a number.
pub fn name(number: u32) -> String {
    let named = names().into_iter().find(|(other, _)| *other == number);
    named.map_or_else(|| number.to_string(), |(_, name)| name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_of_iproute2_are_read() {
        let text = "# device group names\n0\tdefault\n\n7 lan # a comment\nx y\n9\n";
        let expected = [(0, "default"), (0, "default"), (7, "lan")];
        let expected = expected.map(|(number, name)| (number, name.to_owned()));
        assert_eq!(super::parse(text), expected);
        assert_eq!(super::number("default"), Some(0));
        assert_eq!(super::number("70000"), Some(70_000));
        assert_eq!(super::name(4_000_000_000), "4000000000");
    }
}
