//! Takes what is private out of a recording, one-to-one: the same name becomes the same
//! placeholder everywhere, so that what belonged together still does.

use std::collections::BTreeMap;

use agxpatch_core::error::Result;

use super::recording::Recording;

/// The names that are to be taken out, with what stands for each.
#[derive(Debug, Default)]
pub struct Redactor {
    names: Vec<(String, String)>,
    uuids: BTreeMap<String, String>,
    serials: BTreeMap<String, String>,
}

/// Shorter names would eat the text around them.
const MIN_NAME: usize = 3;
/// Names that say nothing about anybody.
const COMMON: [&str; 8] =
    ["root", "Shared", "Macintosh HD", "Data", "Preboot", "Update", "Recovery", "VM"];

impl Redactor {
    /// Takes out these names of people and machines.
    pub fn new(names: impl IntoIterator<Item = String>) -> Redactor {
        let mut redactor = Redactor::default();
        names.into_iter().for_each(|name| redactor.add(&name));
        redactor
    }

    fn add(&mut self, name: &str) {
        let known = self.names.iter().any(|(known, _)| known == name);
        if name.len() < MIN_NAME || COMMON.contains(&name) || known {
            return;
        }
        let placeholder = format!("name{}", self.names.len() + 1);
        self.names.push((name.to_owned(), placeholder));
        // A name that contains another goes first.
        self.names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    /// The recording without what is private.
    pub fn recording(mut self, recording: &Recording) -> Result<Recording> {
        recording.edited(&mut |text| {
            self.learn(text);
            text.to_owned()
        })?;
        recording.edited(&mut |text| self.text(text))
    }

    /// Notes the names that a text gives away by where they stand.
    fn learn(&mut self, text: &str) {
        let names: Vec<String> = [
            after(text, "/Users/", "/ \n\"'<"),
            after(text, "/home/", "/ \n\"'<"),
            after(text, "for user '", "'"),
            after(text, "Serial Number: ", "\n"),
            after(text, "Serial Number (system): ", "\n"),
            after(text, "IOPlatformSerialNumber\" = \"", "\""),
            after(text, "<key>IOPlatformSerialNumber</key>\n\t<string>", "<"),
            after(text, "<key>VolumeName</key><string>", "<"),
            after(text, "<key>VolumeName</key>\n\t<string>", "<"),
            after(text, "<key>Name</key>\n\t<string>", "<"),
        ]
        .concat();
        names.iter().for_each(|name| self.add(name));
        for rest in
            text.split("<key>VolumeName</key>").skip(1).chain(text.split("<key>Name</key>").skip(1))
        {
            let value = rest.trim_start().strip_prefix("<string>");
            if let Some((name, _)) = value.and_then(|value| value.split_once('<')) {
                self.add(name);
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = self.words(text);
        for (name, placeholder) in &self.names {
            text = text.replace(name.as_str(), placeholder);
        }
        text
    }

    /// Replaces UUIDs and serial numbers.
    fn words(&mut self, text: &str) -> String {
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(in_word) {
            let (before, from) = rest.split_at(start);
            let end = from.find(|c| !in_word(c)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            result.push_str(before);
            result.push_str(&self.word(word));
            rest = after;
        }
        result + rest
    }

    fn word(&mut self, word: &str) -> String {
        if is_uuid(word) {
            let next = self.uuids.len() + 1;
            let uuid = || format!("00000000-0000-4000-8000-{next:012}");
            return self.uuids.entry(word.to_ascii_uppercase()).or_insert_with(uuid).clone();
        }
        if is_serial(word) {
            let next = self.serials.len() + 1;
            return self.serials.entry(word.to_owned()).or_insert(format!("serial{next}")).clone();
        }
        word.to_owned()
    }
}

/// What follows each `start`, up to one of `ends`.
fn after(text: &str, start: &str, ends: &str) -> Vec<String> {
    let names = text.split(start).skip(1);
    names.filter_map(|rest| rest.split(|c| ends.contains(c)).next().map(str::to_owned)).collect()
}

fn is_uuid(word: &str) -> bool {
    let hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    hexadecimal && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// Whether a word has the form of Apple's serial numbers: ten to twelve capitals and
/// digits, some of both.
fn is_serial(word: &str) -> bool {
    let capitals = word.bytes().filter(u8::is_ascii_uppercase).count();
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    (10..=12).contains(&word.len()) && capitals + digits == word.len() && capitals > 1 && digits > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Said;

    #[test]
    fn planted_names_are_redacted_one_to_one() {
        let private = [
            ("/Users/anna.maria/Library/x", "anna.maria"),
            ("/home/bengt/x", "bengt"),
            ("<key>VolumeName</key><string>Жёсткий диск</string>", "Жёсткий"),
            ("<key>VolumeName</key>\n\t<string>Zoë \"fast\" disk</string>", "Zoë"),
            ("<key>Name</key>\n\t\t<string>Grandma</string>", "Grandma"),
            ("Deferred enablement appears to be active for user 'kofi'.", "kofi"),
            ("\"IOPlatformSerialNumber\" = \"QQWXJKPLMN\"", "QQWXJKPLMN"),
            ("      Serial Number (system): ABCDEFGHIJ\n", "ABCDEFGHIJ"),
            ("disk of F2LW7Q0ABC", "F2LW7Q0ABC"),
            ("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "aaaaaaaa"),
            ("Executing for host studio-7", "studio-7"),
        ];
        let mut recording = Recording::default();
        for (number, (text, _)) in private.iter().enumerate() {
            let said = Said { rc: 0, out: (*text).to_owned(), err: (*text).to_owned() };
            recording.said.insert(format!("tool {number} {text}"), said);
        }
        let redactor = Redactor::new(["studio-7".to_owned()]);
        let redacted = redactor.recording(&recording).unwrap();
        let text = String::from_utf8(redacted.to_json().unwrap()).unwrap();
        for (_, name) in private {
            assert!(!text.contains(name), "{name} in {text}");
        }
        // One-to-one: as many answers as before, each with its own words.
        assert_eq!(redacted.said.len(), recording.said.len());
        let mut words: Vec<&str> = redacted.said.values().map(|said| said.out.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), private.len());
        // And stable: the same recording is redacted alike.
        let again = Redactor::new(["studio-7".to_owned()]).recording(&recording).unwrap();
        assert_eq!(again, redacted);
    }

    #[test]
    fn private_names_become_the_same_placeholder_everywhere_and_nothing_is_left() {
        let uuid = "0CE453FF-9F17-321F-BC18-383573A48221";
        let out = format!(
            "<key>VolumeName</key>\n\t<string>Jane's Disk</string> /Users/jane/x janes-mac \
             C02XG0FDH7JY {uuid} {} AGXMetalG16X for user 'alexander'",
            uuid.to_lowercase()
        );
        let mut recording = Recording::default();
        recording
            .said
            .insert(format!("diskutil info {uuid}"), Said { rc: 0, out, err: "jane".into() });
        let redacted = Redactor::new(["janes-mac".to_owned()]).recording(&recording).unwrap();
        let text = String::from_utf8(redacted.to_json().unwrap()).unwrap();
        for private in ["jane", "Jane", "C02XG0", "0CE453FF", "0ce453ff", "alexander"] {
            assert!(!text.contains(private), "{private} in {text}");
        }
        assert!(text.contains("AGXMetalG16X"));
        let placeholder = "00000000-0000-4000-8000-000000000001";
        assert_eq!(text.matches(placeholder).count(), 3, "{text}");
    }
}
