"""The nine sources of the paper (Table 1): fetch, stream, sample and cut their texts."""
