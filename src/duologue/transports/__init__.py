"""Ways in: one module is one transport; it defines `routes(...)`."""
