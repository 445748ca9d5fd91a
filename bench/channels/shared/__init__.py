"""What several channels have in common, and the contract that all of them keep."""
