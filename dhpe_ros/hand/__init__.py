"""The MANO-format hand: file, model, parameters, pose prior and projection."""
