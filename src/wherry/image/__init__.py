"""Images: names, configs, layers; load, save, import; unpacking in a box."""
