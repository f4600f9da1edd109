"""What the API says and does of images: lists, names, removal, archives."""
