from controlplane.api.service import addresses

app_name = "api"
urlpatterns = addresses()
