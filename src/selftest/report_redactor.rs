//! What a report for strangers must not hold.
//!
//! Details are made of typed answers, so little can slip in; but a tool's answer
//! that was not understood is quoted, because it is what a maintainer needs, and
//! may name a person or a machine.

/// The words to keep out, besides the forms that are known to be private.
#[derive(Clone, Debug, Default)]
pub struct ReportRedactor {
    names: Vec<String>,
}

impl ReportRedactor {
    /// Keeps out these names, of users or machines. Very short ones are ignored:
    /// they would eat the text around them.
    pub fn new(names: impl IntoIterator<Item = String>) -> ReportRedactor {
        let mut names: Vec<String> = names.into_iter().filter(|name| name.len() > 2).collect();
        // A name that contains another goes first.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        ReportRedactor { names }
    }

    /// `text` without what is private.
    pub fn without(&self, text: &str) -> String {
        let mut text = without_uuids(text);
        for (root, names) in [("/Users/", 1), ("/home/", 1), ("/var/folders/", 2)] {
            text = without_next_names(&text, root, names);
        }
        for name in self.names.iter().filter(|name| *name != "root") {
            text = text.replace(name.as_str(), "<name>");
        }
        text
    }
}

/// Replaces the names that follow each `root`, but for the one everybody has.
fn without_next_names(text: &str, root: &str, names: usize) -> String {
    let mut parts = text.split(root);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for mut part in parts {
        result.push_str(root);
        for _ in 0..names {
            let end = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            result.push_str(if matches!(name, "Shared" | "") { name } else { "<name>" });
            // The next name follows a slash.
            let (slash, rest) = rest.split_at(usize::from(rest.starts_with('/')));
            result.push_str(slash);
            part = rest;
            if slash.is_empty() {
                break;
            }
        }
        result.push_str(part);
    }
    result
}

/// Replaces each word of the form 8-4-4-4-12 hexadecimal digits.
fn without_uuids(text: &str) -> String {
    let in_uuid = |c: char| c.is_ascii_hexdigit() || c == '-';
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(in_uuid) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !in_uuid(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        result.push_str(before);
        result.push_str(if is_uuid(word) { "<uuid>" } else { word });
        rest = after;
    }
    result + rest
}

fn is_uuid(word: &str) -> bool {
    word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests {
    use super::ReportRedactor;

    #[test]
    fn people_and_machines_are_not_named() {
        let redactor = ReportRedactor::new(["jane".to_owned(), "janes-mac".to_owned()]);
        let text =
            "/Users/jane/lib, janes-mac, 0CE453FF-9F17-321F-BC18-383573A48221, /Users/Shared";
        assert_eq!(redactor.without(text), "/Users/<name>/lib, <name>, <uuid>, /Users/Shared");
    }

    #[test]
    fn the_directory_of_a_users_temporary_files_is_not_named() {
        let text = "no /private/var/folders/zz/zyxvpxvq6csfx0000gn/T/.tmpA/probe here";
        let told = "no /private/var/folders/<name>/<name>/T/.tmpA/probe here";
        assert_eq!(ReportRedactor::default().without(text), told);
    }

    #[test]
    fn the_rest_of_a_text_stays_as_it_is() {
        let redactor = ReportRedactor::new(["root".to_owned(), "al".to_owned()]);
        let text = "enabled (Custom Configuration), 0x6f, disk3s1s1, root, all - and é";
        assert_eq!(redactor.without(text), text);
    }
}
