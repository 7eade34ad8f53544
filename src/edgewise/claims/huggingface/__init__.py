"""Claims that models equal those of Hugging Face Transformers."""
