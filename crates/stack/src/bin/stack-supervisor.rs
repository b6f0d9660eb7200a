//! Owns the services of one run; see [`fluxori_stack::supervisor`].

fn main() -> anyhow::Result<()> {
    fluxori_stack::supervisor::main()
}
