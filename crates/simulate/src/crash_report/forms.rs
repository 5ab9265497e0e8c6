//! The forms a report is written in.

use serde_json::{Value, json};

use super::{CrashReport, Frame};

const SUPPORT: [&str; 6] =
    ["libobjc.A.dylib", "Metal", "IOGPU", "libtorch_cpu.dylib", "libsystem_kernel.dylib", "dyld"];

impl CrashReport {
    /// As `.ips`: a header line and a body.
    pub fn ips(&self) -> Vec<u8> {
        let mut bytes = self.header("309").to_string().into_bytes();
        bytes.push(b'\n');
        let mut body = self.body();
        let lacking = self.size.saturating_sub(bytes.len() + body.to_string().len());
        self.pad(&mut body, lacking);
        bytes.extend(body.to_string().into_bytes());
        bytes.push(b'\n');
        bytes
    }

    /// As one JSON object that is header and body.
    pub fn single_object(&self) -> Vec<u8> {
        let mut object = self.header("309");
        if let (Value::Object(object), Value::Object(body)) = (&mut object, self.body()) {
            object.extend(body);
        }
        object.to_string().into_bytes()
    }

    /// As `gpuEvent-*.ips`, of which only the process and the reason are known.
    pub fn gpu_event(&self, reason: &str) -> Vec<u8> {
        let body = json!({
            "process_name": self.process,
            "analysis": { "signature": 577, "guilty_dm": 1, "restart_reason_desc": reason },
        });
        format!("{}\n{body}\n", self.header("284")).into_bytes()
    }

    /// As `.crash` text.
    pub fn text(&self) -> Vec<u8> {
        let mut lines = vec![
            format!("Process:               {} [{}]", self.process, self.pid),
            format!("Parent Process:        zsh [{}]", self.parent_pid),
            String::new(),
            format!("Incident Identifier: {}", self.incident),
            format!("Date/Time:             {}", self.local_time()),
            "OS Version:            macOS 15.7.3 (24G419)".to_owned(),
            String::new(),
            format!("Exception Type:        {} ({})", self.exception, self.signal),
            match &self.subtype {
                Some(subtype) => format!("Exception Codes:       {subtype}"),
                None => format!("Exception Codes:       {}", self.codes),
            },
            format!("Termination Reason:    Namespace {}, Code 0xb", self.namespace),
            String::new(),
        ];
        if !self.messages.is_empty() {
            lines.push("Application Specific Information:".to_owned());
            lines.extend(self.messages.clone());
            lines.push(String::new());
        }
        lines.push("Thread 3 Crashed:: worker Dispatch queue: metal gpu stream 1".to_owned());
        for (index, frame) in self.frames.iter().enumerate() {
            let symbol = frame.symbol.as_deref().unwrap_or("0x10c718000");
            let image = &frame.image;
            lines.push(format!(
                "{index:<4}{image:<31}\t0x000000010c9d52d0 {symbol} + {}",
                frame.offset
            ));
        }
        lines.push("\nBinary Images:".to_owned());
        if let Some((name, version, uuid)) = &self.driver {
            lines.push(format!(
                "       0x10c718000 -        0x10d03ffff com.apple.{name} ({version}) <{}> \
                 /System/Library/Extensions/{name}.bundle/Contents/MacOS/{name}",
                uuid.to_uppercase()
            ));
        }
        (lines.join("\n") + "\n").into_bytes()
    }

    fn local_time(&self) -> String {
        format!("{}", self.captured.strftime("%Y-%m-%d %H:%M:%S%.4f +0000"))
    }

    fn header(&self, bug_type: &str) -> Value {
        json!({
            "app_name": self.process, "timestamp": self.local_time(), "app_version": "",
            "slice_uuid": "52f8a2ff-6a28-3b1e-8c3f-d5c4c0a7f6b1", "build_version": "",
            "platform": 1, "share_with_app_devs": 0, "is_first_party": 0,
            "bug_type": bug_type, "os_version": "macOS 15.7.3 (24G419)",
            "roots_installed": 0, "name": self.process, "incident_id": self.incident,
        })
    }

    fn body(&self) -> Value {
        let images = self.images();
        let mut exception = json!({
            "codes": self.codes, "rawCodes": [1, 0], "type": self.exception, "signal": self.signal,
        });
        if let Some(subtype) = &self.subtype {
            exception["subtype"] = json!(subtype);
        }
        let mut body = json!({
            "uptime": 250000, "version": 2, "modelCode": "Mac16,5", "captureTime": self.local_time(),
            "incident": self.incident, "pid": self.pid, "procName": self.process,
            "procPath": "/opt/*/Python", "parentProc": "zsh", "parentPid": self.parent_pid,
            "osVersion": { "train": "macOS 15.7.3", "build": "24G419", "releaseType": "User" },
            "exception": exception,
            "termination": {
                "flags": 0, "code": 11, "namespace": self.namespace, "indicator": self.indicator,
            },
        });
        if let Some(region) = &self.region {
            body["vmRegionInfo"] = json!(region);
        }
        if !self.messages.is_empty() {
            body["asi"] = json!({ "Metal": self.messages });
        }
        if !self.triggered_only {
            body["faultingThread"] = json!(1);
        }
        body["threads"] = json!([idle_thread(0), self.thread(&images)]);
        if let Some(word) = self.instruction {
            body["instructionByteStream"] = json!({
                "beforePC": "HyAD1Q==", "atPC": base64(&[word.to_le_bytes(), [0; 4]].concat()),
            });
        }
        if !self.thrown.is_empty() {
            body["lastExceptionBacktrace"] = Value::Array(frames(&self.thrown, &images));
        }
        if let Some((base, size)) = self.cache {
            body["sharedCache"] = json!({ "base": base, "size": size });
        }
        body["sip"] = json!("enabled");
        body["codeSigningMonitor"] = json!(2);
        body["usedImages"] = Value::Array(images.iter().map(|name| self.image(name)).collect());
        body
    }

    fn images(&self) -> Vec<String> {
        let mut names: Vec<String> = SUPPORT.iter().map(|name| (*name).to_owned()).collect();
        names.extend(self.driver.iter().map(|(name, ..)| name.clone()));
        names.extend(self.libraries.iter().map(|library| library.name.clone()));
        for frame in self.frames.iter().chain(&self.thrown) {
            if !names.contains(&frame.image) {
                names.push(frame.image.clone());
            }
        }
        names
    }

    fn thread(&self, images: &[String]) -> Value {
        let frames = frames(&self.frames, images);
        let esr: u64 = if self.write { 0x9200_0046 } else { 0x9200_0006 };
        json!({
            "triggered": true, "id": 991_017, "name": "Thread-1 (worker)",
            "queue": "metal gpu stream 1", "frames": frames,
            "threadState": {
                "x": self.registers(),
                "flavor": "ARM_THREAD_STATE64",
                "esr": { "value": esr, "description": "(Data Abort) byte read Translation fault" },
                "far": { "value": 1480 },
            },
        })
    }

    fn registers(&self) -> Vec<Value> {
        let value = |number| {
            let named = self.registers.iter().find(|(each, _)| *each == number);
            named.map_or(6_455_218_648_u64 + number as u64, |(_, value)| *value)
        };
        (0..29).map(|number| json!({ "value": value(number) })).collect()
    }

    fn image(&self, name: &str) -> Value {
        if let Some(library) = self.libraries.iter().find(|library| library.name == name) {
            return json!({
                "source": "P", "arch": "arm64", "base": 4_604_395_520_u64, "size": 262_144,
                "uuid": library.uuid, "path": library.path, "name": library.name,
            });
        }
        match &self.driver {
            Some((driver, version, uuid)) if driver == name => json!({
                "source": "P", "arch": "arm64e", "base": 4_503_732_224_u64, "size": 9_568_256,
                "CFBundleShortVersionString": version, "CFBundleVersion": version,
                "CFBundleIdentifier": format!("com.apple.{name}"), "uuid": uuid, "name": name,
                "path": format!("/System/Library/Extensions/{name}.bundle/Contents/MacOS/{name}"),
            }),
            _ => json!({
                "source": "P", "arch": "arm64e", "base": 6_455_218_648_u64, "size": 81_920,
                "uuid": "52f8a2ff-6a28-3b1e-8c3f-d5c4c0a7f6b1",
                "path": format!("/usr/lib/{name}"), "name": name,
            }),
        }
    }

    /// Idle threads and further images, half the room each, after what counts.
    fn pad(&self, body: &mut Value, lacking: usize) {
        let fill = |list: &mut Value, item: &dyn Fn(usize) -> Value, room: usize| {
            let size = item(0).to_string().len() + 1;
            if let Value::Array(list) = list {
                list.extend((0..room.div_ceil(size)).map(item));
            }
        };
        fill(&mut body["threads"], &idle_thread, lacking / 2);
        let image = |index: usize| self.image(&format!("libpadding{index}.dylib"));
        fill(&mut body["usedImages"], &image, lacking - lacking / 2);
    }
}

fn idle_thread(index: usize) -> Value {
    let frame = |symbol: &str, offset: u64| {
        json!({
            "imageOffset": 7196 + offset, "symbol": symbol, "symbolLocation": offset,
            "imageIndex": 4,
        })
    };
    let frames: Vec<Value> = (0..12)
        .map(|depth| match depth {
            0 => frame("__psynch_cvwait", 8),
            1 => frame("_pthread_cond_wait", 984),
            10 => frame("_pthread_start", 136),
            11 => frame("thread_start", 8),
            _ => frame("_PyEval_EvalFrameDefault", 4096 + depth),
        })
        .collect();
    let registers: Vec<Value> =
        (0..29).map(|x| json!({ "value": 6_131_806_208_u64 + x })).collect();
    json!({
        "id": 991_100 + index, "frames": frames,
        "threadState": { "x": registers, "flavor": "ARM_THREAD_STATE64", "esr": { "value": 0 } },
    })
}

fn frames(frames: &[Frame], images: &[String]) -> Vec<Value> {
    let frame = |frame: &Frame| {
        let index = images.iter().position(|image| *image == frame.image);
        match &frame.symbol {
            Some(symbol) => json!({
                "imageOffset": 4096 + frame.offset, "symbol": symbol,
                "symbolLocation": frame.offset, "imageIndex": index,
            }),
            None => json!({ "imageOffset": frame.offset, "imageIndex": index }),
        }
    };
    frames.iter().map(frame).collect()
}

/// Base 64, of bytes that fill whole groups or leave two or one.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    out
}
