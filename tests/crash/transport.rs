//! What happens to a report on its way: every line prefixed, lines broken, strings in
//! strings, other characters, parts cut off. Each in both forms, and what must not be
//! taken for it.

use agxpatch::crash::{self, Class, CrashReport as Read};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER, DRIVER_UUID};

fn text(number: u32) -> String {
    String::from_utf8(CrashReport::set_pipeline(number).text()).unwrap()
}

/// JSON with line ends and indents, as it is in the file macOS writes.
fn ips(number: u32) -> String {
    let bytes = CrashReport::set_pipeline(number).ips();
    let objects = serde_json::Deserializer::from_slice(&bytes).into_iter::<serde_json::Value>();
    let write = |(index, object): (usize, Result<serde_json::Value, _>)| match index {
        0 => object.unwrap().to_string() + "\n",
        _ => serde_json::to_string_pretty(&object.unwrap()).unwrap() + "\n",
    };
    objects.enumerate().map(write).collect()
}

fn compact(number: u32) -> String {
    String::from_utf8(CrashReport::set_pipeline(number).ips()).unwrap()
}

fn read(bytes: impl AsRef<[u8]>) -> Vec<Read> {
    crash::read_all("pasted.txt", bytes.as_ref())
}

/// Asserts that `bytes` hold report 1 and nothing else, whole.
fn assert_whole(how: &str, bytes: impl AsRef<[u8]>) {
    let found = read(&bytes);
    let shown = String::from_utf8_lossy(bytes.as_ref());
    assert_eq!(found.len(), 1, "{how}: {found:#?}\n{shown}");
    let report = &found[0];
    assert_eq!(report.class, Class::NullAtSetPipeline, "{how}: {report:#?}\n{shown}");
    assert_eq!(report.incident, CrashReport::set_pipeline(1).incident().to_lowercase(), "{how}");
    assert_eq!(report.pid, Some(4001), "{how}: {report:#?}\n{shown}");
    assert!(report.captured.is_some(), "{how}: {shown}");
    assert_eq!(report.incomplete, None, "{how}: {shown}");
    let uuid = report.driver.as_ref().and_then(|driver| driver.uuid.as_deref());
    assert_eq!(uuid, Some(DRIVER_UUID), "{how}: {shown}");
}

fn lines(text: &str, change: impl Fn(usize, &str) -> String) -> String {
    text.lines().enumerate().map(|(number, line)| change(number, line) + "\n").collect()
}

#[test]
fn prefixes_of_chats_logs_editors_and_tables_are_taken_off() {
    type Prefix = fn(usize, &str) -> String;
    let prefixes: [(&str, Prefix); 20] = [
        ("a chat that quotes", |_, line| format!("[10:31] name: > {line}")),
        ("a chat with AM and PM", |_, line| format!("[10:31 AM] Ann B.: {line}")),
        ("a chat whose time goes on", |n, line| format!("[10:{}] ann: {line}", 31 + n / 9)),
        ("IRC", |_, line| format!("10:31 <ann> {line}")),
        ("a messenger", |_, line| format!("[02.01.26, 10:31:05] Ann: {line}")),
        ("another messenger", |_, line| format!("1/2/26, 10:31 AM - Ann: {line}")),
        ("a name alone", |_, line| format!("ann: {line}")),
        ("a log", |_, line| format!("2026-01-02T03:04:05.123Z {line}")),
        ("a log with levels", |_, line| format!("2026-01-02 03:04:05,1 ERROR work: {line}")),
        ("syslog", |_, line| format!("Jan  2 03:04:05 mac.local app[77]: {line}")),
        ("containers", |_, line| format!("app_1  | {line}")),
        ("a patch", |_, line| format!("+{line}")),
        ("a comment", |_, line| format!("# {line}")),
        ("a comment of C", |_, line| format!(" * {line}")),
        ("a list", |_, line| format!("- {line}")),
        ("code of one line each", |_, line| format!("`{line}`")),
        ("cells of a table", |_, line| format!("| {line} |")),
        ("numbered lines", |n, line| format!("{:6}\t{line}", n + 1)),
        ("grep", |n, line| format!("a.crash:{}:{line}", n + 1)),
        ("line ends of a shell", |_, line| format!("{line}\\")),
    ];
    for (how, prefix) in prefixes {
        assert_whole(how, lines(&text(1), prefix));
        assert_whole(how, lines(&ips(1), prefix));
    }
}

#[test]
fn other_chat_messages_are_not_part_of_a_report() {
    let ann = lines(&text(1), |_, line| format!("[10:31] ann: {line}"));
    let (before, after) = ann.split_at(ann.find("Exception Type").unwrap());
    let (before, begun) = before.split_at(before.rfind('\n').unwrap() + 1);
    let talk = format!("[10:30] ann: it died:\n{before}[10:32] bob: which one?\n{begun}{after}");
    assert_whole("two speakers", talk);
    let bob = lines(&text(2), |_, line| format!("[10:35] bob: {line}"));
    let both = read(ann + &bob);
    assert_eq!(both.iter().map(|report| report.pid).collect::<Vec<_>>(), [Some(4001), Some(4002)]);
}

#[test]
fn a_word_before_some_lines_is_not_a_prefix() {
    // `Parent Process:` stands in every report, and a chat may name one key.
    let three = text(1) + &text(2) + "ann: Exception Type: what is that?\n" + &text(3);
    let found = read(three);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|report| report.parent_pid == Some(400)), "{found:#?}");
}

/// `text` with lines broken at spaces where they would be longer than `width`.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    lines(text, |_, line| {
        let mut out = String::new();
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            if column > 0 && column + word.trim_end().len() > width && !out.trim().is_empty() {
                out.truncate(out.trim_end().len());
                out = out + "\n" + indent;
                column = indent.len();
            }
            out.push_str(word);
            column += word.len();
        }
        out
    })
}

/// `text` with lines broken at exactly `width`.
fn cut_into(text: &str, width: usize) -> String {
    lines(text, |_, line| {
        let characters: Vec<char> = line.chars().collect();
        let parts: Vec<String> =
            characters.chunks(width).map(|part| part.iter().collect()).collect();
        parts.join("\n")
    })
}

#[test]
fn lines_that_a_mail_client_broke_are_joined() {
    for width in [60, 64, 72, 76, 78, 80] {
        assert_whole(&format!("width {width}"), wrapped(&text(1), width, ""));
        assert_whole(&format!("width {width}"), wrapped(&ips(1), width, ""));
        assert_whole(&format!("width {width}"), wrapped(&compact(1), width, ""));
    }
    assert_whole("indented", wrapped(&text(1), 72, "    "));
    let quoted = lines(&wrapped(&text(1), 72, ""), |_, line| format!("> {line}"));
    assert_whole("quoted", quoted);
}

#[test]
fn lines_that_a_terminal_broke_are_joined() {
    for width in [64, 72, 80, 120] {
        assert_whole(&format!("width {width}"), cut_into(&text(1), width));
        assert_whole(&format!("width {width}"), cut_into(&ips(1), width));
        assert_whole(&format!("width {width}"), cut_into(&compact(1), width));
    }
}

#[test]
fn a_broken_name_of_a_template_and_a_broken_assertion_are_joined() {
    let prepare = String::from_utf8(CrashReport::prepare(1).text()).unwrap();
    assert_eq!(read(wrapped(&prepare, 72, ""))[0].class, Class::NullAtPrepare);
    let assertion = "-[_MTLCommandBuffer f]:10: failed assertion `A command encoder is already \
                     encoding to this command buffer'";
    let text = String::from_utf8(CrashReport::assertion(1, assertion).text()).unwrap();
    let found = read(wrapped(&text, 64, ""));
    assert!(found[0].evidence.because.contains("already encoding"), "{found:#?}");
}

#[test]
fn a_remark_after_a_whole_frame_is_not_its_second_half() {
    let talk = text(1).replacen(" + 32\n", " + 32\nthis is the one I meant, see above + 1\n", 1);
    let found = read(talk);
    assert_eq!(found[0].notes, ["lines between the frames that are not frames: 1"]);
    let frame = found[0].evidence.frame.as_deref().unwrap();
    assert!(frame.ends_with("setComputePipelineState:] + 32"), "{frame}");
}

#[test]
fn frames_of_no_known_form_are_refused_and_not_called_unrelated() {
    let text = lines(&text(1), |_, line| match line.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("at {line}"),
        false => line.to_owned(),
    });
    let found = read(text);
    assert_eq!(found[0].class, Class::Unreadable);
    assert!(found[0].evidence.because.contains("of no known form"));
}

#[test]
fn reports_inside_strings_are_read_at_any_level() {
    let json = |value: &str| serde_json::to_string(value).unwrap();
    for report in [text(1), ips(1), compact(1)] {
        let body = json(&report);
        let inner = &body[1..body.len() - 1];
        assert_whole("in an answer", format!("{{\"title\":\"it died\",\"body\":{body}}}"));
        assert_whole("in a list", format!("[{{\"files\": [\n  {{\"text\": {body}}}\n]}}]"));
        assert_whole("a string alone", &body);
        assert_whole("without its quotes", inner);
        let again = json(&format!("{{\"body\":{body}}}"));
        assert_whole("twice", format!("{{\"log\":{again}}}"));
        assert_whole("printed by Python", format!("report = '{}'", inner.replace("\\\"", "\"")));
        let cell = report.replace('"', "\"\"");
        assert_whole("a cell of a table", format!("id,report\n7,\"{cell}\"\n"));
    }
    let fenced = format!("see:\r\n```\r\n{}```\r\n", text(1).replace('\n', "\r\n"));
    assert_whole("fenced in a string", format!("{{\"body\":{}}}", json(&fenced)));
    let escaped = json(&text(1)).replace('<', "\\u003c").replace('>', "\\u003e");
    assert_whole("with escaped brackets", format!("{{\"body\":{escaped}}}"));
}

#[test]
fn reports_inside_other_json_are_read() {
    let report = ips(1);
    let (header, body) = report.split_once('\n').unwrap();
    assert_whole("a member", format!("{{\"report\": {body}}}"));
    assert_whole("a member of a member", format!("{{\"data\": {{\"crash\":\n{body}\n}}}}"));
    assert_whole("apart", format!("{{\"header\": {header},\n\"payload\": {body}}}"));
    assert_whole("a list of both", format!("[{header},\n{body}]"));
    let second = ips(2);
    let (_, second) = second.split_once('\n').unwrap();
    for list in [format!("[{body},{second}]"), format!("[\n{body},\n{second}\n]")] {
        assert_eq!(read(list).len(), 2);
    }
    let other = "{\"name\":\"thing\",\"version\":\"1.0\",\"files\":[{\"name\":\"a\"}]}";
    assert_eq!(read(other)[0].class, Class::Unreadable);
}

#[test]
fn mail_is_decoded() {
    let printable = |text: &str| {
        let text = text.replace('=', "=3D");
        lines(&text, |_, line| {
            let characters: Vec<char> = line.chars().collect();
            let parts: Vec<String> = characters.chunks(75).map(|p| p.iter().collect()).collect();
            parts.join("=\n")
        })
    };
    assert_whole("quoted-printable", printable(&text(1)));
    assert_whole("quoted-printable", printable(&ips(1)));
    let attached =
        "--x\nContent-Type: text/plain; name=a.ips\nContent-Transfer-Encoding: base64\n\n";
    for report in [text(1), ips(1)] {
        assert_whole(
            "attached",
            format!("Subject: it died\n\n{attached}{}--x--\n", base64(&report)),
        );
    }
}

/// As mail programs write it.
fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.as_bytes().chunks(3).flat_map(|bytes| {
        let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (24 - 8 * bytes.len());
        (0..4).map(move |at| match at <= bytes.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        })
    });
    let digits: Vec<char> = digits.collect();
    digits.chunks(76).map(|line| line.iter().collect::<String>() + "\n").collect()
}

#[test]
fn characters_that_only_look_different_are_the_same() {
    let (text, ips) = (text(1), ips(1));
    let curly = |open: &str, close: &str| {
        let mut opened = false;
        let quote = |c: char| match c {
            '"' => {
                opened = !opened;
                if opened { open.to_owned() } else { close.to_owned() }
            }
            c => c.to_string(),
        };
        ips.chars().map(quote).collect::<String>()
    };
    assert_whole("curly quotes", curly("\u{201c}", "\u{201d}"));
    assert_whole("German quotes", curly("\u{201e}", "\u{201c}"));
    assert_whole("minus signs", text.replace("-[AGX", "\u{2212}[AGX"));
    assert_whole("spaces without width", text.replace("AGXMetal", "AGX\u{200b}Metal"));
    assert_whole("soft hyphens", text.replace("Compute", "Com\u{ad}pute"));
    assert_whole("no plain space", text.replace(' ', "\u{a0}"));
    assert_whole("wide spaces", text.replace("  ", "\u{3000}"));
    assert_whole("wide colons", text.replace("Type:", "Type\u{ff1a}"));
    assert_whole("line ends of EBCDIC", text.replace('\n', "\u{85}"));
    assert_whole("colours", lines(&text, |_, line| format!("\u{1b}[31m{line}\u{1b}[0m")));
    assert_whole("colours", lines(&ips, |_, line| format!("\u{1b}[1;31m{line}\u{1b}[0m")));
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_whole("UTF-16 without a mark", units);
    let codes = std::iter::once('\u{feff}').chain(text.chars());
    assert_whole("UTF-32", codes.flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<u8>>());
}

#[test]
fn pages_and_macros_of_trackers_are_taken_off() {
    let encode = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for report in [text(1), ips(1)] {
        let encoded = encode(&report);
        let page = format!("<!DOCTYPE html><html><body><p>hello</p><pre>{encoded}</pre></body>");
        assert_whole("a page", page);
        let rows = lines(&encoded, |n, line| {
            format!("<tr><td data-line-number=\"{n}\"></td><td class=\"code\">{line}</td></tr>")
        });
        assert_whole("a table", format!("<table>{rows}</table>"));
        assert_whole("breaks on one line", encoded.replace('\n', "<br>"));
        for (open, close) in
            [("{code}", "{code}"), ("{code:json}", "{code}"), ("[code]", "[/code]")]
        {
            assert_whole(open, format!("{open}\n{report}{close}\n"));
            assert_whole(open, format!("{open}{report}{close}\n"));
        }
        assert_whole("a list's fence", {
            let inside = lines(&report, |_, line| format!("   {line}"));
            format!("1. crash:\n   ```\n{inside}   ```\n")
        });
    }
    let coloured = lines(&encode(&text(1)), |_, line| match line.split_once(':') {
        Some((key, value)) if !key.contains(' ') => {
            format!("<span class=\"k\">{key}:</span>{value}")
        }
        _ => line.to_owned(),
    });
    assert_whole("coloured code", format!("<pre>{coloured}</pre>"));
}

#[test]
fn frames_in_the_forms_of_other_tools_are_read() {
    let text = text(1);
    let frame = text.lines().find(|line| line.contains("setComputePipelineState")).unwrap();
    let forms = [
        frame.replacen("0 ", "#0 ", 1),
        frame.replacen("0 ", "0) ", 1),
        frame.replacen("0 ", "0. ", 1),
        format!("* {frame}"),
        format!("`{frame}`"),
        format!("{frame} (AGXComputeContext.mm:812)"),
        frame.replace(" + 32", " (in AGXMetalG16X) + 32"),
        frame.split_whitespace().collect::<Vec<_>>().join(" "),
        frame.split_whitespace().collect::<Vec<_>>().join("\t"),
    ];
    for form in forms {
        assert_whole(&form, text.replace(frame, &form));
    }
}

#[test]
fn json_that_breaks_off_after_the_frames_is_kept_and_marked_incomplete() {
    let whole = ips(1);
    let after = |mark: &str, more: usize| &whole[..whole.find(mark).unwrap() + more];
    let cuts = [
        after("\"usedImages\"", 0),
        after("\"usedImages\"", 90),
        after("at::native::mps", 4),
        &whole[..whole.len() - 30],
    ];
    for cut in cuts {
        for end in ["", "\n```\nthe rest was \"too long\"\n", "\n... (truncated)\n", "..."] {
            let found = read(format!("{cut}{end}"));
            assert_eq!(found.len(), 1, "{cut}{end}");
            assert_eq!(found[0].class, Class::NullAtSetPipeline, "{cut}{end}");
            let incomplete = found[0].incomplete.as_deref().unwrap_or_default();
            assert!(incomplete.starts_with("the JSON breaks off"), "{incomplete}");
            // What follows is a report of its own.
            assert_eq!(read(format!("{cut}{end}\n{}", text(2))).len(), 2);
        }
    }
    for cut in
        [after("\"exception\"", 3), after("FamilyComputeContext", 8), after("\"threads\"", 9)]
    {
        assert_eq!(read(cut)[0].class, Class::Unreadable, "{cut}");
    }
}

#[test]
fn frames_whose_images_are_cut_off_are_nobodys_unless_their_names_tell() {
    let report = CrashReport::new(1)
        .unmapped(0x10)
        .frame("libsqlite3.dylib", "sqlite3_step", 8)
        .frame("Python", "main", 4)
        .ips();
    let report = String::from_utf8(report).unwrap();
    let cut = &report[..report.find("\"usedImages\"").unwrap()];
    let found = read(cut);
    assert_eq!(found[0].class, Class::Unrelated);
    assert!(found[0].incomplete.is_some());
}

#[test]
fn a_report_without_its_first_lines_is_kept_and_marked_incomplete() {
    let whole = text(1);
    for start in ["Date/Time:", "Exception Type:"] {
        let found = read(&whole[whole.find(start).unwrap()..]);
        assert_eq!((found.len(), found[0].class), (1, Class::NullAtSetPipeline), "{start}");
        assert!(found[0].incomplete.as_deref().unwrap().contains("first lines"), "{start}");
    }
    // Frames alone do not tell what happened there.
    let frames = &whole[whole.find("Thread 3 Crashed").unwrap()..whole.find("Binary").unwrap()];
    for text in [frames.to_owned(), format!("It dies here:\n```\n{frames}```\n")] {
        let found = read(text);
        assert_eq!(found[0].class, Class::Unreadable);
        assert!(found[0].evidence.because.contains("without an exception"));
    }
    let question = "Exception Type: what does that mean?\nThread safety: none\n";
    assert_eq!(read(question)[0].evidence.because, "neither JSON nor a crash report in text");
}

#[test]
fn the_address_is_found_wherever_a_report_still_has_it() {
    let report = compact(1);
    let without = |parts: &[&str]| {
        let mut body: serde_json::Value =
            serde_json::from_str(report.split_once('\n').unwrap().1).unwrap();
        for part in parts {
            let (name, member) = part.split_once('.').unwrap_or((part, ""));
            let object = match member {
                "" => body.as_object_mut(),
                _ => body[name].as_object_mut(),
            };
            object.unwrap().remove(if member.is_empty() { name } else { member });
        }
        body
    };
    let texts = ["exception.subtype", "exception.codes"];
    let region = without(&texts);
    let mut raw = without(&[texts[0], texts[1], "vmRegionInfo"]);
    raw["exception"].as_object_mut().unwrap().remove("rawCodes");
    let register = raw.clone();
    raw["exception"]["rawCodes"] = serde_json::json!([1, 0x5c8]);
    for (how, body) in [("region", region), ("raw codes", raw), ("register", register)] {
        assert_whole(how, body.to_string());
    }
}

#[test]
fn symbols_as_the_compiler_wrote_them_are_known() {
    let at = |symbol: &str, address: u64| {
        let report = CrashReport::new(1).unmapped(address).frame(DRIVER, symbol, 40);
        crash::read("a.ips", &report.ips()).class
    };
    let context = "_ZN3AGX14ComputeContextINS_6HAL2008EncodersENS1_7ClassesEE";
    assert_eq!(at(&format!("{context}17prepareForEnqueueEb"), 0x98), Class::NullAtPrepare);
    assert_eq!(
        at(&format!("{context}19performEnqueueKernelEv"), 0x720),
        Class::NullAtUnknownOffset
    );
    assert_eq!(at("_ZN3AGX6Device17prepareForNothingEb", 0x98), Class::OtherGpu);
}
