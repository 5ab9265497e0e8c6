//! The instructions we encode ourselves, held against clang's encoding of them.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::{Assembler, extensions};
use agxpatch_core::macho::Universal;

use agxpatch_oracles::{Kind, Toolchain};

#[test]
fn clang_makes_the_same_words() {
    let Some(toolchain) = Toolchain::find() else { return };
    let lines = extensions::every_form();
    let assembly: String = lines.iter().map(|line| format!("\"{line}\\n\"\n")).collect();
    // The assembler's directive allows what the processor of the target may lack.
    let source = format!(
        "void start(void) {{}}\n\
         __asm__(\".arch armv8.5-a\\n.text\\n.globl _forms\\n_forms:\\n\"\n{assembly});\n"
    );
    let image = toolchain.link(&source, "arm64", Kind::Program);
    let file = Universal::parse(&image).unwrap();
    let image = file.slices[0].image().unwrap();
    let text = image.text().unwrap();
    let symbols = image.symbols().unwrap();
    let forms = symbols.iter().find(|symbol| symbol.name == "_forms").unwrap();
    let start = (forms.address.0 - text.address.0) as usize;
    let theirs = Word::all(&text.bytes[start..start + 4 * lines.len()]);
    let assembler = Assembler::new();
    for (line, theirs) in lines.iter().zip(theirs) {
        let ours = assembler.assemble_line(line, VmAddr(0)).unwrap();
        assert_eq!(ours, theirs, "{line}");
    }
}
