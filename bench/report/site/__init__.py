"""One page over all published results: which defense protects where, how sure that is, and what it costs."""
