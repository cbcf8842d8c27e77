"""The policies: rules that give each prompt its teacher."""
