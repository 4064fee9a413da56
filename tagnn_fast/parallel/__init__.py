"""Work on many processes: groups of them, and a catalogue in shards."""
