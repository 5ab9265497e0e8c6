//! What the rewrite is worth, said before anyone consents to it.

use std::io::{self, Write};

use agxpatch_core::proof::interleaving::{FIRST, limits};

/// Shows what the default rewrite closes, what it leaves open, and what to try
/// before it.
pub fn show(out: &mut dyn Write) -> io::Result<()> {
    let limits = limits().map_err(io::Error::other)?;
    writeln!(out, "  closes    {}", limits.closes)?;
    writeln!(out, "  leaves    {}", limits.remains)?;
    writeln!(out, "  first     try {FIRST}")
}
