"""The router: a language model whose head gives one Bradley-Terry coefficient per teacher."""
