"""Victims: trained under a defense, they emit releases and nothing else."""
