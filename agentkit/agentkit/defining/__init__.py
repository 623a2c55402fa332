"""What a model may call and give back: tools, toolsets, output types; compiled once."""
