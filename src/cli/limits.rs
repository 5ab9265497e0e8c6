//! What the rewrite is worth, said before anyone consents to it.

use std::io::{self, Write};

use agxpatch_core::proof::interleaving::{CLOSES, FIRST, REMAINS};

/// Shows what the default rewrite closes, what it leaves open, and what to try
/// before it.
pub fn show(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  closes    {CLOSES}")?;
    writeln!(out, "  leaves    {REMAINS}")?;
    writeln!(out, "  first     try {FIRST}")
}
