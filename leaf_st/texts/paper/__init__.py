"""The nine sources of the paper (Table 1): fetching, streaming, sampling and cutting."""
