"""Teaching a large model the slot layout: a LoRA through the real model's own forward."""
