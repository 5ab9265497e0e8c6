//! Each class by its evidence, and beside it what resembles it and is refused.

mod assertions;
mod freed;
mod null;
mod origin;

use agxpatch::crash::{self, CrashReport as Read};
use agxpatch_simulate::crash_report::CrashReport;

const SET_PIPELINE: &str = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
/// `ldr x0, [x20, #0x5e0]`.
const LOAD_THROUGH_X20: u32 = 0xf942_f280;

fn read(report: &CrashReport) -> Read {
    crash::read("a.ips", &report.ips())
}

fn bad_access(image: &str, symbol: &str, address: u64) -> CrashReport {
    CrashReport::new(1).unmapped(address).frame(image, symbol, 32).mps_callers()
}

/// As [`CrashReport::abort`], with the frames that end a process by an assertion.
fn asserted(image: &str, method: &str) -> CrashReport {
    CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("libsystem_c.dylib", "__assert_rtn", 284)
        .frame("Metal", "MTLReportFailure.cold.1", 48)
        .frame("Metal", "MTLReportFailure", 464)
        .frame(image, method, 100)
}

fn terminated(text: &str) -> Read {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("libobjc.A.dylib", "_objc_terminate()", 172);
    read(&report.message(text))
}
