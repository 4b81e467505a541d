"""What a masked autoencoder has learnt: how well it draws what it was not shown."""
