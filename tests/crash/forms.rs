//! Reports as people have them: pasted, quoted, renamed, cut off, several at once.

use std::fs;

use agxpatch::crash::{self, Class, CrashReport as Read};
use agxpatch::diagnostics::{Collection, Limits, collect};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER, DRIVER_UUID};

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// JSON with line ends and indents, as it is in the file macOS writes.
fn pretty(report: &CrashReport) -> String {
    serde_json::Deserializer::from_slice(&report.ips())
        .into_iter::<serde_json::Value>()
        .enumerate()
        .map(|(index, object)| match index {
            0 => object.unwrap().to_string() + "\n",
            _ => serde_json::to_string_pretty(&object.unwrap()).unwrap() + "\n",
        })
        .collect()
}

fn without_identifier(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("Incident Identifier"));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn one(text: impl AsRef<[u8]>) -> Read {
    let mut all = crash::read_all("pasted.txt", text.as_ref());
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn collected(files: &[(&str, &[u8])]) -> Collection {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    collect(&[folder.path().to_owned()], &Limits::default()).unwrap()
}

#[test]
fn text_that_ends_after_the_crashed_thread_is_kept_and_marked_incomplete() {
    let text = string(CrashReport::set_pipeline(1).text());
    let images = text.find("Binary Images:").unwrap();
    let read = one(&text[..images]);
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert!(read.incomplete.unwrap().contains("ends before its list of images"));
    assert_eq!(one(&text).incomplete, None);
}

#[test]
fn text_that_ends_inside_its_first_frame_is_refused() {
    let text = string(CrashReport::set_pipeline(1).text());
    let symbol = text.find("FamilyComputeContext").unwrap();
    assert_eq!(one(&text[..symbol + 6]).class, Class::Unreadable);
    let thread = text.find("Thread 3 Crashed").unwrap();
    assert_eq!(one(&text[..thread]).class, Class::Unreadable);
}

/// What is done to a text on its way.
fn wrappings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let lines = |change: &dyn Fn(&str) -> String| {
        text.lines().map(change).collect::<Vec<_>>().join("\n").into_bytes()
    };
    let entities =
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let wide = |swap: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    vec![
        ("quoted", lines(&|line| format!("> {line}"))),
        ("quoted twice", lines(&|line| format!("> > {line}"))),
        ("quoted without a space", lines(&|line| format!(">{line}"))),
        ("quoted in HTML", lines(&|line| format!("&gt; {}", line.replace('"', "&quot;")))),
        ("as rows of a table", lines(&|line| format!("| {line}"))),
        ("with spaces that do not break", text.replace("  ", "\u{a0} ").into_bytes()),
        ("indented", lines(&|line| format!("    {line}"))),
        ("with tabs", lines(&|line| format!("\t{line}"))),
        ("fenced", format!("here it is\n```\n{text}```\nthanks").into_bytes()),
        ("fenced as JSON", format!("```json\n{text}\n```\n").into_bytes()),
        ("fenced with tildes", format!("~~~text\n{text}\n~~~\n").into_bytes()),
        ("double spaced", lines(&|line| format!("{line}\n"))),
        ("with CRLF", text.replace('\n', "\r\n").into_bytes()),
        ("double spaced with CRLF", text.replace('\n', "\r\n\r\n").into_bytes()),
        ("with a byte order mark", format!("\u{feff}{text}").into_bytes()),
        ("in UTF-16", wide(false)),
        ("in the other UTF-16", wide(true)),
        ("as HTML", format!("<pre><code>{entities}</code></pre>").into_bytes()),
        ("after a chat", format!("ann: it crashed\nbob: send it: {{sure}}\n{text}").into_bytes()),
        (
            "before a chat",
            format!("{text}\nann: what {{do}} you think?\n1 more follows\n").into_bytes(),
        ),
        ("with breaks of HTML", lines(&|line| format!("{line}<br>"))),
        ("after empty lines", format!("\n\n  \n{text}").into_bytes()),
    ]
}

#[test]
fn both_forms_are_read_through_what_is_wrapped_around_them() {
    let report = CrashReport::set_pipeline(1);
    for text in [string(report.text()), pretty(&report), string(report.ips())] {
        for (how, bytes) in wrappings(&text) {
            let all = crash::read_all("pasted.md", &bytes);
            assert_eq!(all.len(), 1, "{how}: {all:#?}");
            let read = &all[0];
            assert_eq!(read.class, Class::NullAtSetPipeline, "{how}: {read:#?}\n{text}");
            assert_eq!(read.incident, report.incident().to_lowercase(), "{how}");
            let driver = read.driver.as_ref().unwrap_or_else(|| panic!("{how}: no driver"));
            assert_eq!(driver.uuid.as_deref(), Some(DRIVER_UUID), "{how}");
        }
    }
}

#[test]
fn entities_and_bold_keys_of_a_web_page_are_read() {
    let text = string(CrashReport::set_pipeline(1).text());
    let numbered = text.replace('[', "&#91;").replace(']', "&#x5d;");
    let bold = text.lines().map(|line| match line.split_once(':') {
        Some((key, value)) if key.chars().all(char::is_alphabetic) => format!("**{key}:**{value}"),
        _ => line.to_owned(),
    });
    for text in [numbered, bold.collect::<Vec<_>>().join("\n")] {
        let read = one(&text);
        assert_eq!(read.class, Class::NullAtSetPipeline, "{read:#?}\n{text}");
        assert_eq!(read.process.as_deref(), Some("Python"));
    }
}

#[test]
fn a_system_profile_after_the_json_is_passed_over_and_said() {
    let text = pretty(&CrashReport::spill(1))
        + "\nModel: Mac16,8, BootROM 1.0, proc 12:8:4 processors, 24 GB, SMC \n\
           Graphics: Apple M4 Pro, Built-In\n";
    let read = one(text);
    assert_eq!(read.class, Class::NullAtSpill);
    assert_eq!(read.notes, ["lines of the file that belong to no report: 2"]);
}

fn translated(report: &CrashReport, heading: &str) -> String {
    let text = without_identifier(&string(report.text()));
    format!(
        "-------------------------------------\n{heading}\n\
         -------------------------------------\n\n{text}\n\
         -----------\nFull Report\n-----------\n\n{}\nModel: Mac16,8\n",
        pretty(report)
    )
}

#[test]
fn a_translated_report_with_the_full_one_below_is_one_incident_by_its_identifier() {
    let report = CrashReport::set_pipeline(1);
    let read = one(translated(&report, "Translated Report (Full Report Below)"));
    assert_eq!(read.incident, report.incident().to_lowercase());
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.protections.code_signing_monitor, Some(2), "the JSON tells more");
}

#[test]
fn a_translation_into_another_language_leaves_the_full_report_readable() {
    let report = CrashReport::set_pipeline(1);
    let text = translated(&report, "\u{dc}bersetzter Bericht (Vollst\u{e4}ndiger Bericht unten)")
        .replace("Process: ", "Prozess: ")
        .replace("Exception Type", "Ausnahmetyp")
        .replace("Thread 3 Crashed", "Thread 3 abgest\u{fc}rzt");
    let read = one(text);
    assert_eq!(read.incident, report.incident().to_lowercase());
    assert_eq!(read.class, Class::NullAtSetPipeline);
}

#[test]
fn a_full_report_that_breaks_off_leaves_the_translated_one() {
    let report = CrashReport::set_pipeline(1);
    let text = translated(&report, "Translated Report (Full Report Below)");
    let read = one(&text[..text.len() - 600]);
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.incident, report.incident().to_lowercase());
    assert!(read.notes[0].contains("breaks off"), "{:?}", read.notes);
}

#[test]
fn the_same_death_as_ips_and_as_text_without_identifier_is_one_incident() {
    let (first, second) = (CrashReport::set_pipeline(1), CrashReport::set_pipeline(2));
    let text = without_identifier(&string(first.text()));
    let other = without_identifier(&string(second.text()));
    let found = collected(&[
        ("a.ips", &first.ips()),
        ("a.crash", text.as_bytes()),
        ("b.crash", other.as_bytes()),
    ]);
    assert_eq!((found.incidents.len(), found.files, found.copies), (2, 3, 1));
    assert_eq!(found.incidents[0].report.incident, first.incident().to_lowercase());
    assert!(found.incidents[0].path.ends_with("a.ips") || found.incidents[0].files == 2);
}

#[test]
fn another_process_of_the_same_millisecond_is_another_incident() {
    let first = CrashReport::set_pipeline(1);
    let text = without_identifier(&string(first.clone().process("Python", 4999, 1).text()));
    let found = collected(&[("a.ips", &first.ips()), ("a.crash", text.as_bytes())]);
    assert_eq!((found.incidents.len(), found.copies), (2, 0));
}

#[test]
fn several_reports_in_one_file_are_counted_and_not_mixed() {
    let (a, b, c) = (
        CrashReport::set_pipeline(1),
        CrashReport::unrelated(2).process("second", 5151, 1),
        CrashReport::spill(3),
    );
    let parts = [
        string(a.ips()),
        string(b.ips()),
        string(c.text()),
        "and another one:\n".to_owned(),
        pretty(&CrashReport::trap(4)),
    ];
    let expected = [
        ("Python", Class::NullAtSetPipeline),
        ("second", Class::Unrelated),
        ("Python", Class::NullAtSpill),
        ("Python", Class::Trap),
    ];
    let all = crash::read_all("all.txt", parts.concat().as_bytes());
    let found: Vec<_> =
        all.iter().map(|read| (read.process.as_deref().unwrap(), read.class)).collect();
    assert_eq!(found, expected);
    let second = &all[1];
    assert_eq!((second.pid, second.driver.as_ref()), (Some(5151), None));
    let found = collected(&[("all.md", parts.concat().as_bytes())]);
    assert_eq!((found.incidents.len(), found.files), (4, 1));
}

#[test]
fn a_report_that_breaks_off_does_not_hide_the_next() {
    let first = pretty(&CrashReport::set_pipeline(1));
    let cut = &first[..first.len() / 2];
    let text = format!("{cut}\n{}", pretty(&CrashReport::spill(2)));
    let all = crash::read_all("a.ips", text.as_bytes());
    let classes: Vec<_> = all.iter().map(|read| read.class).collect();
    assert_eq!(classes, [Class::Unreadable, Class::NullAtSpill]);
}

#[test]
fn renamed_reports_are_recognised_by_content_and_other_texts_are_counted() {
    let ips = CrashReport::set_pipeline(1).ips();
    let text = CrashReport::spill(2).text();
    let found = collected(&[
        ("report.ips.txt", &ips),
        ("report.json", &CrashReport::trap(3).ips()),
        ("issue.md", &CrashReport::prepare(4).text()),
        ("console.log", &text),
        ("README.md", b"# A project\n\nIt crashes at times.\n"),
        ("package.json", b"{\"name\": \"thing\", \"version\": \"1.0\"}"),
        ("picture.png", b"\x89PNG"),
    ]);
    assert_eq!((found.incidents.len(), found.files, found.others), (4, 4, 2));
    assert_eq!(found.unreadable, []);
}

#[test]
fn frames_of_macos_11_are_named_by_bundle_identifier() {
    let text = string(CrashReport::set_pipeline(1).text())
        .replace(&format!("{DRIVER}    "), &format!("com.apple.{DRIVER}"));
    assert!(text.contains("0   com.apple.AGXMetalG16X"));
    let read = one(text);
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.evidence.image.as_deref(), Some(DRIVER));
}

#[test]
fn an_identifier_writes_a_hyphen_where_the_image_has_an_underscore() {
    let text = string(
        CrashReport::new(1)
            .unmapped(0x5c8)
            .driver("AGXMetalG16G-B0", "341.11", "a22549f3-d4f5-3b88-af18-e06837f0d352")
            .frame(
                "com.apple.AGXMetalG16G-B0",
                "-[AGXG16GFamilyComputeContext setComputePipelineState:]",
                32,
            )
            .text(),
    );
    assert_eq!(one(text).evidence.image.as_deref(), Some("AGXMetalG16G_B0"));
}

#[test]
fn a_driver_whose_uuid_markdown_took_keeps_name_and_version() {
    let text = string(CrashReport::set_pipeline(1).text());
    let eaten = text.replace(&format!("<{}>", DRIVER_UUID.to_uppercase()), "");
    assert_ne!(eaten, text);
    let driver = one(eaten).driver.unwrap();
    assert_eq!((driver.name.as_str(), driver.version.as_deref()), (DRIVER, Some("329.2")));
    assert_eq!(driver.uuid, None);
}

#[test]
fn frames_without_addresses_and_lines_between_them_are_read() {
    let text = string(CrashReport::set_pipeline(1).text());
    let bare = text.replace("\t0x000000010c9d52d0 ", "  ");
    assert_ne!(bare, text);
    assert_eq!(one(bare).class, Class::NullAtSetPipeline);
    let talk = text.replace("\n1   libtorch", "\n(this is the one I meant)\n\n1   libtorch");
    let read = one(talk);
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.notes, ["lines between the frames that are not frames: 1"]);
}

#[test]
fn a_lost_frame_is_said_and_no_other_takes_its_place() {
    let text = string(CrashReport::set_pipeline(1).text());
    let without = |number: &str| {
        let kept = text.lines().filter(|line| !line.starts_with(number));
        one(kept.collect::<Vec<_>>().join("\n"))
    };
    let read = without("1   ");
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.notes, ["frames of the thread that crashed are missing: 1"]);
    let read = without("0   ");
    assert_eq!(read.class, Class::OtherGpu, "{read:?}");
    assert!(read.incomplete.unwrap().contains("innermost frame"));
}

#[test]
fn characters_that_markdown_escaped_are_read() {
    let text = string(CrashReport::set_pipeline(1).text());
    let escaped =
        text.replace('[', "\\[").replace(']', "\\]").replace('<', "\\<").replace('_', "\\_");
    let read = one(escaped);
    assert_eq!((read.class, read.pid), (Class::NullAtSetPipeline, Some(4001)));
    assert_eq!(read.driver.unwrap().uuid.as_deref(), Some(DRIVER_UUID));
}

#[test]
fn a_panic_in_text_is_named() {
    let text = "Anonymous UUID: 0\n\npanic(cpu 4 caller 0xffff): \"GPU hang in AGXG13X\" @x.cpp\n";
    assert_eq!(one(text).class, Class::GpuPanic);
    let text = "*** Panic Report ***\npanic(cpu 4 caller 0xffff): \"watchdog\" @x.cpp\n";
    let read = one(text);
    assert_eq!(read.class, Class::Unrelated);
    assert!(read.evidence.because.contains("kernel panic"));
}

#[test]
fn a_line_of_a_chat_that_begins_with_a_number_is_not_a_frame() {
    let text = string(CrashReport::set_pipeline(1).text());
    let talk = text.replace("\n1   libtorch", "\n1 minute later it crashed again\n1   libtorch");
    let read = one(talk);
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.notes.len(), 1);
}

#[test]
fn registers_of_the_text_form_tell_read_from_write() {
    let text = string(CrashReport::spill(1).text()).replace(
        "\nBinary Images:",
        "\nThread 3 crashed with ARM Thread State (64-bit):\n    \
         x0: 0x0000000000000000   x1: 0x0000000184f3a040\n   \
         far: 0x0000000000000184  esr: 0x92000046 (Data Abort) byte write Translation fault\n\n\
         Binary Images:",
    );
    let read = one(text);
    assert_eq!(read.class, Class::NullAtSpill);
    assert_eq!(read.evidence.access, Some(agxpatch::crash::Access::Write));
}

#[test]
fn texts_of_other_tools_are_named_with_what_to_ask_for() {
    let cases = [
        (
            "* thread #9, name = 'worker', stop reason = EXC_BAD_ACCESS (code=1, address=0x5c8)\n  \
             * frame #0: 0x000000010c9d52d0 AGXMetalG16X`-[AGXG16XFamilyComputeContext f] + 32\n",
            "lldb",
        ),
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x000000016f (most recent \
             call first):\n  File \"/tmp/a.py\", line 3 in work\n",
            "faulthandler",
        ),
        (
            "Operating system: Mac OS X\nCrash reason:  EXC_BAD_ACCESS / KERN_INVALID_ADDRESS\n\
             Crash address: 0x5c8\n\nThread 4 (crashed)\n 0  AGXMetalG16X + 0x2bd2d0\n",
            "Breakpad",
        ),
        (
            "# Crashlytics - plaintext stacktrace downloaded\n# Platform: apple\nCrashed: worker\n\
             0  AGXMetalG16X 0x2bd2d0 (Missing)\n",
            "Crashlytics",
        ),
        (
            "{\"event_id\":\"ab\",\"platform\":\"native\",\"sdk\":{\"name\":\"sentry.cocoa\"},\
             \"exception\":{\"values\":[{\"type\":\"EXC_BAD_ACCESS\"}]}}",
            "Sentry",
        ),
    ];
    for (text, tool) in cases {
        for name in ["paste.txt", "report.ips"] {
            let found = collected(&[(name, text.as_bytes())]);
            assert_eq!((found.incidents.len(), found.files), (0, 1), "{tool}");
            let reason = &found.unreadable[0].reason;
            assert!(reason.contains(tool) && reason.contains(".ips"), "{reason}");
        }
    }
}

#[test]
fn a_report_in_which_another_tool_is_named_stays_a_report() {
    let report = CrashReport::set_pipeline(1).message("Crashlytics and Sentry were installed");
    assert_eq!(one(report.text()).class, Class::NullAtSetPipeline);
    assert_eq!(one(report.ips()).class, Class::NullAtSetPipeline);
}

#[test]
fn files_that_are_not_text_are_named() {
    let cases: [(&[u8], &str); 3] =
        [(b"\x1f\x8b\x08\0", "gunzip"), (b"PK\x03\x04aa", "zip"), (b"MDMP\x93\xa7", "minidump")];
    for (bytes, part) in cases {
        let read = one(bytes);
        assert_eq!(read.class, Class::Unreadable);
        assert!(read.evidence.because.contains(part), "{}", read.evidence.because);
    }
}

#[test]
fn a_panic_that_names_the_gpu_is_told_from_another() {
    let panic = |text: &str| {
        format!(
            "{{\"bug_type\":\"210\",\"timestamp\":\"2025-12-23 10:46:40.00 -0800\"}}\n\
             {{\"panicString\":\"panic(cpu 2 caller 0xfffffe00): {text}\"}}\n"
        )
    };
    let gpu = one(panic("AGXG16X: firmware did not answer @AGXFirmware.cpp:12"));
    assert_eq!(gpu.class, Class::GpuPanic);
    assert_eq!(one(panic("userspace watchdog timeout")).class, Class::Unrelated);
}

#[test]
fn reports_of_more_than_ten_megabytes_are_read() {
    let large = CrashReport::set_pipeline(1).padded_to(12 << 20).ips();
    let found = collected(&[("large.ips", &large)]);
    assert_eq!(found.incidents[0].report.class, Class::NullAtSetPipeline);
}

#[test]
fn identifiers_that_were_redacted_make_no_copies() {
    let redacted = |number: u32, by: &str| {
        let report = CrashReport::trap(number);
        string(report.ips()).replace(report.incident(), by).into_bytes()
    };
    for by in ["00000000-0000-0000-0000-000000000000", "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX"] {
        let found = collected(&[("a.ips", &redacted(1, by)), ("b.ips", &redacted(2, by))]);
        assert_eq!((found.incidents.len(), found.copies), (2, 0), "{by}");
    }
}
