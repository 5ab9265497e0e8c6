//! The `agxpatch` program: everything is in the library.

fn main() -> agxpatch_core::exit::Exit {
    agxpatch::cli::main()
}
