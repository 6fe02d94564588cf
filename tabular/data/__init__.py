"""Tables: where they come from, how they are read, cut and described."""
